//! Prints what a topic had in a span of time, all partitions in the order of their timestamps.
//! `cargo run -p weir-client --example replay -- bookings 0 1800000000000` (ms since 1970)
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::time::Duration;

use weir_client::{Client, ClientConfig, ConsumerOptions, From, Until, default_context};
use weir_wire::ids::{Timestamp, TopicName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let topic = TopicName::parse(&arguments.next().ok_or("name a topic")?)?;
    let from: u64 = arguments.next().ok_or("from when, in ms?")?.parse()?;
    let until: u64 = arguments.next().ok_or("until when, in ms?")?.parse()?;
    let client = Client::connect(ClientConfig::from_context(default_context())?).await?;
    let options = ConsumerOptions {
        from: From::Time(Timestamp(from)),
        until: Some(Until::Time(Timestamp(until))),
        ..ConsumerOptions::default()
    };
    // It has an end, so no event waits for silent partitions.
    let mut events = client.merged_by_time(&topic, options, Duration::from_millis(500)).await?;
    while let Some(consumed) = events.next().await.transpose()? {
        let value = consumed.event.value.as_deref().unwrap_or_default();
        println!("{}: {}", consumed.event.timestamp.0, String::from_utf8_lossy(value));
    }
    client.close().await;
    Ok(())
}
