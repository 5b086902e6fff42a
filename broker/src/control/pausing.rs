//! Pausing a binding and resuming it: an operator's decision, and no fault.
//!
//! A paused binding keeps its place in the chain, its config, limits and state; events pass it by,
//! unstamped, whatever its failure policy, which is about plugins that fail. Both are changes of the
//! chain like any other: recorded, at one exact offset of each partition.

use weir_wire::admin::{Binding, ChainChange};
use weir_wire::ids::{PluginName, TopicName};

use super::{Control, ControlError, not_bound};

impl Control {
    /// Lets events pass a binding by until it is resumed.
    pub async fn pause(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
    ) -> Result<ChainChange, ControlError> {
        self.set_paused(topic, plugin, true).await
    }

    /// Puts a paused binding back to work.
    pub async fn resume(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
    ) -> Result<ChainChange, ControlError> {
        self.set_paused(topic, plugin, false).await
    }

    async fn set_paused(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
        paused: bool,
    ) -> Result<ChainChange, ControlError> {
        let mut held = self.hold(topic).await?;
        let binding = held.chain.bindings.iter_mut().find(|binding| binding.plugin == *plugin);
        let binding = binding.ok_or_else(|| not_bound(topic, plugin))?;
        if binding.paused == paused {
            return Err(already(topic, plugin, paused));
        }
        binding.paused = paused;
        // One that is to be paused may be too ill to be tried.
        let tried: Vec<Binding> = (!paused).then(|| binding.clone()).into_iter().collect();
        self.change_chain(held, tried).await
    }
}

fn already(topic: &TopicName, plugin: &PluginName, paused: bool) -> ControlError {
    match paused {
        true => ControlError::conflict(
            "already-paused",
            format!("plugin {plugin} on {topic} is paused already; nothing was changed"),
        ),
        false => ControlError::conflict(
            "not-paused",
            format!("plugin {plugin} on {topic} is not paused; nothing was changed"),
        ),
    }
}
