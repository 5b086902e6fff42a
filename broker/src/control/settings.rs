//! What a topic keeps: changed while it serves, and cleaned at once where an operator wants room.

use weir_views::catalog::CatalogChange;
use weir_wire::admin::{PartitionCleaned, TopicDescription, TopicSettings};
use weir_wire::ids::TopicName;

use super::{Control, ControlError, describe, no_topic};

impl Control {
    /// Changes what a topic keeps. The next round of the cleaner goes by it.
    pub async fn change_topic(
        &self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<TopicDescription, ControlError> {
        let held = self.hold(name).await?;
        let _changing = self.changing.lock().await;
        let id = held.record.id;
        let catalog = self.registry.record(CatalogChange::TopicChanged { id, settings }).await?;
        self.cleaner.settings_changed();
        let topic = self.topics.router.topic(name)?;
        describe(&catalog, &topic).ok_or_else(|| no_topic(name))
    }

    /// Removes what a topic's settings do not keep, now and not with the next round.
    pub async fn clean_topic(
        &self,
        name: &TopicName,
    ) -> Result<Vec<PartitionCleaned>, ControlError> {
        let topic = self.topics.router.topic(name)?;
        Ok(self.cleaner.clean(&topic).await)
    }
}
