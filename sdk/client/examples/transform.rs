//! Copies the bookings above 500 into a topic of their own, each once, whatever dies on the way. Start
//! as many as you like. `cargo run -p weir-client --example transform -- bookings large-bookings`

use weir_client::{Client, ClientConfig, Event, Transform, TransformOptions, default_context};
use weir_wire::ids::{GroupName, TopicName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut topics = std::env::args().skip(1);
    let mut topic = || TopicName::parse(&topics.next().unwrap_or_default());
    let (from, to) = (topic()?, topic()?);
    let client = Client::connect(ClientConfig::from_context(default_context())?).await?;
    let options = TransformOptions::new(from, GroupName::parse("large-bookings")?, to);
    let mut transform = Transform::open(client, options).await?;
    transform
        .run(|booking| {
            let value = booking.event.value.as_deref().unwrap_or_default();
            let json: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
            match json["price"].as_f64() {
                Some(price) if price > 500.0 => {
                    vec![Event { headers: vec![], ..booking.event.clone() }]
                }
                _ => vec![],
            }
        })
        .await?;
    Ok(())
}
