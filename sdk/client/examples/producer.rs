//! Publishes three bookings of one customer and prints what became of each.
//! `cargo run -p weir-client --example producer -- bookings`
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

use weir_client::{Client, ClientConfig, Event, ProducerOptions, Verdict, default_context};
use weir_wire::ids::TopicName;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let topic = TopicName::parse(&std::env::args().nth(1).ok_or("name a topic")?)?;
    let client = Client::connect(ClientConfig::from_context(default_context())?).await?;
    let producer = client.producer(&topic, ProducerOptions::default()).await?;

    let mut deliveries = Vec::new();
    for seat in ["12A", "12B", "12C"] {
        let event = Event {
            key: Some("alice@example.com".into()),
            value: Some(format!(r#"{{"seat":"{seat}"}}"#).into()),
            ..Event::default()
        };
        // Waits only while there is no room; the verdict comes with the delivery.
        deliveries.push((seat, producer.send(event).await?));
    }
    for (seat, delivery) in deliveries {
        let outcome = delivery.await?;
        match (outcome.verdict, outcome.offset) {
            (Verdict::Rejected(why), _) => {
                println!("{seat}: refused by {}: {}", why.plugin, why.message)
            }
            (verdict, offset) => println!("{seat}: {verdict:?} at {offset:?}"),
        }
    }
    producer.close().await;
    client.close().await;
    Ok(())
}
