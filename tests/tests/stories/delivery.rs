//! What is sent to consumers, and what consumers cost that do not read.

use bytes::Bytes;
use serde_json::{Value, json};
use weir_client::{Client, ClientConfig, Compression, Event, Header, ProducerOptions};
use weir_tests::broker::Broker;
use weir_wire::ids::{Timestamp, TopicName};

fn client(broker: &Broker) -> impl Future<Output = Client> {
    let config = ClientConfig::from_context(broker.context()).unwrap();
    async { Client::connect(config).await.unwrap() }
}

/// Publishes events of so many users, every third of them from Europe.
async fn publish(client: &Client, topic: &str, events: u64, value: &Bytes) {
    let options = ProducerOptions { compression: Compression::Lz4, ..ProducerOptions::default() };
    let topic = TopicName::parse(topic).unwrap();
    let producer = client.producer(&topic, options).await.unwrap();
    for number in 0..events {
        let region = if number % 3 == 0 { "eu-west" } else { "us" };
        let event = Event {
            timestamp: Timestamp(number),
            key: Some(format!("u{}-{number}", number % 10).into()),
            value: Some(value.clone()),
            headers: vec![Header { name: "region".to_owned(), value: Some(region.into()) }],
        };
        drop(producer.send(event).await.unwrap());
    }
    producer.close().await;
}

#[tokio::test]
async fn a_filter_leaves_out_what_is_not_wanted_and_moves_no_offset() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings", "--partitions", "2"]);
    let client = client(&broker).await;
    publish(&client, "bookings", 3_000, &Bytes::from_static(b"booking")).await;
    let read = |more: &[&str]| -> Vec<Value> {
        let mut lines: Vec<_> =
            broker.done(["consume", "bookings", "--until-end"].iter().chain(more)).json_lines();
        lines.sort_by_key(|line| (line["partition"].as_u64(), line["offset"].as_u64()));
        lines
    };
    let all = read(&[]);
    assert_eq!(all.len(), 3_000);
    let wanted = |is: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        all.iter().filter(|line| is(line)).cloned().collect()
    };
    let user = |line: &Value| line["key"].as_str().unwrap().starts_with("u3-");
    let european = |line: &Value| line["headers"][0]["value"] == json!("eu-west");
    assert_eq!(read(&["--key-prefix", "u3-"]), wanted(&user));
    assert_eq!(read(&["--header", "region=eu-"]), wanted(&european));
    let both = ["--key-prefix", "u3-", "--header", "region=eu-"];
    assert_eq!(read(&both), wanted(&|line| user(line) && european(line)));
    assert_eq!(read(&["--header", "region"]), all);

    // Nothing of it is wanted, and the group is through with it all the same.
    assert_eq!(read(&["--key-prefix", "nobody", "--group", "readers"]).len(), 0);
    assert_eq!(broker.done(["group", "list", "--json"]).json()[0]["lag"], json!(0));
    let nameless = broker.weir(["consume", "bookings", "--header", "=eu"]);
    assert!(nameless.stderr.contains("name the header"), "{nameless:?}");
}
