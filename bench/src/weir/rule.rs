//! The rules that are bound while weir is measured.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use serde_json::json;
use weir_client::Admin;
use weir_wire::admin::BindingSpec;
use weir_wire::ids::{PluginName, TopicName};

/// A rule as an operator binds it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its component, from the repository's root.
    pub component: &'static str,
    /// What it is called at the broker.
    pub plugin: &'static str,
    /// What it is told.
    pub config: serde_json::Value,
}

impl Rule {
    /// A limit of daily-limit that no key comes to: its own maximum.
    pub const NO_LIMIT: u64 = 1_000_000_000_000;

    /// So many events a day and key, by the events' own time: a run over midnight is as any other.
    pub fn daily_limit(limit: u64) -> Self {
        Self {
            component: "plugins/daily-limit/daily-limit.wasm",
            plugin: "daily-limit",
            config: json!({ "limit": limit, "time": "event" }),
        }
    }

    /// The least that a rule can do: it accepts.
    pub fn accept() -> Self {
        Self { component: "bench/rules/accept.wasm", plugin: "accept", config: json!({}) }
    }

    /// Takes a header away that the events do not have: it looks at each and keeps no state.
    pub fn redact() -> Self {
        Self {
            component: "plugins/redact/redact.wasm",
            plugin: "redact",
            config: json!({ "headers": { "authorization": "remove" } }),
        }
    }

    /// A token bucket per key that is never empty.
    pub fn rate_limit() -> Self {
        Self {
            component: "plugins/rate-limit/rate-limit.wasm",
            plugin: "rate-limit",
            config: json!({ "rate": 1_000_000_000, "per": "1s" }),
        }
    }

    /// Its component's bytes.
    pub fn read(&self, root: &Path) -> Result<Bytes, String> {
        let path = root.join(self.component);
        let bytes = fs::read(&path);
        bytes.map(Bytes::from).map_err(|error| format!("cannot read {}: {error}", path.display()))
    }

    /// Pushes it, as its plugin's next version.
    pub async fn push(&self, admin: &Admin, root: &Path) -> Result<(), String> {
        let plugin = name(self.plugin, PluginName::parse)?;
        let pushed = admin.push_plugin(&plugin, self.read(root)?).await;
        pushed.map(drop).map_err(|error| format!("{} cannot be pushed: {error}", self.plugin))
    }

    /// Binds it, at this place of the chain.
    pub async fn bind(&self, admin: &Admin, topic: &TopicName, order: i32) -> Result<(), String> {
        let plugin = name(self.plugin, PluginName::parse)?;
        let config = Some(self.config.clone());
        let spec = BindingSpec { order: Some(order), config, ..BindingSpec::default() };
        let bound = admin.bind(topic, &plugin, &spec).await;
        bound.map(drop).map_err(|error| format!("{} cannot be bound: {error}", self.plugin))
    }
}

/// The same component as another version: with a section that says nothing.
pub fn another_version(component: &Bytes) -> Bytes {
    // Section 0, its length, the length of its name, its name.
    const CUSTOM: &[u8] = b"\x00\x06\x05again";
    [component, CUSTOM].concat().into()
}

/// A name that was written here.
pub fn name<T, E: std::fmt::Display>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    parse(text).map_err(|error| format!("{text:?} is no name: {error}"))
}
