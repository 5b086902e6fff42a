//! Creates a topic, pushes a plugin and binds it: ten bookings a day per key.
//! `cargo run -p weir-client --example admin -- bookings daily-limit.wasm`
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

use weir_client::{Admin, ClientConfig, default_context};
use weir_wire::admin::{BindingSpec, Durability, TopicSpec};
use weir_wire::ids::{PluginName, TopicName};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let topic = TopicName::parse(&arguments.next().ok_or("name a topic")?)?;
    let component = std::fs::read(arguments.next().ok_or("name a component, a .wasm file")?)?;
    let admin = Admin::new(&ClientConfig::from_context(default_context())?)?;

    let spec = TopicSpec {
        name: topic.clone(),
        partitions: 4,
        durability: Durability::Durable,
        retention_ms: None,
        retention_bytes: None,
        cleanup: Default::default(),
        segment_bytes: None,
    };
    admin.create_topic(&spec).await?;
    let plugin = PluginName::parse("daily-limit")?;
    let version = admin.push_plugin(&plugin, component.into()).await?;
    let binding = BindingSpec {
        version: Some(version.version.to_string()),
        config: Some(serde_json::json!({ "limit": 10, "key": "event", "time": "broker" })),
        ..BindingSpec::default()
    };
    let change = admin.bind(&topic, &plugin, &binding).await?;
    println!("{topic} is judged by {} plugin(s) from now on", change.chain.bindings.len());
    Ok(())
}
