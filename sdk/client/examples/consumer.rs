//! Prints what a group has not yet seen of a topic, as one of its members, and follows the tail until
//! Ctrl-C. `cargo run -p weir-client --example consumer -- bookings`
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

use weir_client::{Client, ClientConfig, ConsumerOptions, From, default_context};
use weir_wire::ids::{GroupName, TopicName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let topic = TopicName::parse(&std::env::args().nth(1).ok_or("name a topic")?)?;
    let client = Client::connect(ClientConfig::from_context(default_context())?).await?;
    let options = ConsumerOptions {
        from: From::Committed,
        group: Some(GroupName::parse("printer")?),
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer(&topic, options).await?;
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch() => batch,
            _ = tokio::signal::ctrl_c() => break,
        };
        let Some(batch) = batch.transpose()? else { break };
        for (offset, event) in &batch.events {
            let value = event.value.as_deref().unwrap_or_default();
            println!("{}/{offset}: {}", batch.partition, String::from_utf8_lossy(value));
        }
        // After the work: a crash in between shows these events again, and loses none.
        consumer.commit().await?;
    }
    // Others get the partitions at once.
    consumer.close().await?;
    client.close().await;
    Ok(())
}
