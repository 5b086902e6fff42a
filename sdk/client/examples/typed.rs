//! Counts bookings per seat, with values read as JSON and commits made by themselves, until the topic
//! ends. `cargo run -p weir-client --example typed -- bookings`
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use weir_client::{Client, ClientConfig, ConsumerOptions, From, TypedError, default_context};
use weir_wire::ids::{GroupName, TopicName};

#[derive(serde::Deserialize)]
struct Booking {
    seat: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let topic = TopicName::parse(&std::env::args().nth(1).ok_or("name a topic")?)?;
    let client = Client::connect(ClientConfig::from_context(default_context())?).await?;
    let options = ConsumerOptions {
        from: From::Committed,
        until_end: true,
        group: Some(GroupName::parse("counters")?),
        // Once a second, and only what we are finished with: what came before the one in hand.
        auto_commit: Some(Duration::from_secs(1)),
        ..ConsumerOptions::default()
    };
    let mut bookings = client.consumer(&topic, options).await?.typed::<Booking>();
    let mut seats: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(booking) = StreamExt::next(&mut bookings).await {
        match booking {
            Ok(booking) => *seats.entry(booking.value.seat).or_default() += 1,
            // To ask for the next one is to skip it; `wrong.dead_letter()` is what to keep of it.
            Err(TypedError::Undecodable(wrong)) => println!("skipped: {wrong}"),
            Err(TypedError::Client(error)) => return Err(error.into()),
        }
    }
    for (seat, times) in seats {
        println!("{seat}: {times}");
    }
    // Commits the rest, and leaves the group, so that others need not wait for us.
    bookings.close().await?;
    client.close().await;
    Ok(())
}
