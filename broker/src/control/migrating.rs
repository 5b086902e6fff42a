//! Whether the plugins of a new chain take over the state of the old one: asked before anything is
//! recorded, so that a version which does not leaves the old one serving.

use std::sync::Arc;

use weir_partition::Link;
use weir_wire::ids::PartitionId;

use super::{Control, ControlError};
use crate::router::Topic;

impl Control {
    /// Has each link take over what it would have to in every partition, as it is now, and forgets
    /// what came of it. Events go on meanwhile; so the state may still move to what is refused, and
    /// then that partition says so.
    pub(super) async fn try_migrations(
        &self,
        topic: &Arc<Topic>,
        links: Vec<Link>,
    ) -> Result<(), ControlError> {
        // In boxes: a link is large, and this future stays small.
        for mut link in links.into_iter().map(Box::new) {
            for (number, partition) in (0..).map(PartitionId).zip(&topic.partitions) {
                // One that stands still has its turn when it is opened again.
                let Ok(partition) = partition else { continue };
                let (plugin, keyspace) = (link.who().plugin.clone(), link.keyspace().clone());
                let Ok(Some(trial)) = partition.trial(plugin, keyspace).await else { continue };
                let (tried, outcome) = self
                    .blocking(move || {
                        let outcome = trial.run(&mut link);
                        (link, outcome)
                    })
                    .await?;
                link = tried;
                if let Err(fault) = outcome {
                    let who = link.who();
                    return Err(ControlError::invalid(
                        "migration-refused",
                        format!(
                            "plugin {}@{} cannot have the state of {}/{number}: {}; nothing was changed",
                            who.plugin, who.version, topic.name, fault.detail
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}
