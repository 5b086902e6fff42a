//! What was sent again already, kept as committed offsets, so that no run sends it once more.
//!
//! A redrive of everything moves the offsets of its group: whatever lies below is done. A redrive of
//! a selection must not, since it passes over letters that nobody has sent: for each kind of letter
//! (plugin and code) it sends, it moves the offsets of a group of that kind's own. A letter is done if
//! it lies below either, so runs with and without a selection may follow each other in any order.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};
use weir_client::{Client, ClientError};
use weir_wire::dead_letter::DeadLetter;
use weir_wire::ids::{GroupName, NAME_BYTES_MAX, Offset, PartitionId, PluginName, TopicName};

/// Hexadecimal digits of a kind's hash in its group's name: 64 bits, for a handful of kinds.
const KIND_DIGITS: usize = 16;
/// Bytes of a group's name that leave room for a kind.
pub const GROUP_BYTES_MAX: usize = NAME_BYTES_MAX - KIND_DIGITS - 1;

/// Where each partition goes on; absent: at its beginning.
type Places = BTreeMap<PartitionId, Offset>;

/// Letters that were refused alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    plugin: PluginName,
    code: String,
}

impl Kind {
    pub fn of(letter: &DeadLetter) -> Self {
        Self { plugin: letter.plugin.clone(), code: letter.code.clone() }
    }

    /// The group that remembers this kind's letters.
    fn group(&self, group: &GroupName) -> GroupName {
        let named = format!("{}\0{}", self.plugin, self.code);
        let hash = hex::encode(Sha256::digest(named));
        let name = format!("{group}.{}", &hash[..KIND_DIGITS]);
        GroupName::parse(&name).expect("the group's name leaves room, and digits may stand in one")
    }
}

/// What one redrive remembers of those before it, and adds.
pub struct Memory {
    client: Client,
    topic: TopicName,
    group: GroupName,
    all: Places,
    kinds: HashMap<Kind, Places>,
}

impl Memory {
    /// Reads what the group has done.
    pub async fn open(
        client: &Client,
        topic: &TopicName,
        group: GroupName,
    ) -> Result<Self, ClientError> {
        let all = client.committed_offsets(&group, topic).await?.into_iter().collect();
        let (client, topic) = (client.clone(), topic.clone());
        Ok(Self { client, topic, group, all, kinds: HashMap::new() })
    }

    /// Whether the letter of this kind at this place was sent already.
    pub async fn has(
        &mut self,
        kind: &Kind,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<bool, ClientError> {
        let below = |places: &Places| places.get(&partition).is_some_and(|next| offset < *next);
        if !self.kinds.contains_key(kind) {
            let group = kind.group(&self.group);
            let known = self.client.committed_offsets(&group, &self.topic).await?;
            self.kinds.insert(kind.clone(), known.into_iter().collect());
        }
        Ok(below(&self.all) || self.kinds.get(kind).is_some_and(below))
    }

    /// From now on everything below `next` is done, whatever its kind.
    pub async fn all_done(&mut self, next: &Places) -> Result<(), ClientError> {
        let group = self.group.clone();
        commit(&self.client, &group, &self.topic, &mut self.all, next).await
    }

    /// From now on everything of this kind below `next` is done.
    pub async fn kind_done(&mut self, kind: &Kind, next: &Places) -> Result<(), ClientError> {
        let known = self.kinds.entry(kind.clone()).or_default();
        commit(&self.client, &kind.group(&self.group), &self.topic, known, next).await
    }
}

/// Stores what moved forward. What was sent once stays sent, wherever a later run began.
async fn commit(
    client: &Client,
    group: &GroupName,
    topic: &TopicName,
    known: &mut Places,
    next: &Places,
) -> Result<(), ClientError> {
    let has_moved = |(partition, next): &(&PartitionId, &Offset)| {
        known.get(partition).is_none_or(|known| known < *next)
    };
    let moved: Vec<_> = next.iter().filter(has_moved).map(|(&at, &next)| (at, next)).collect();
    if !moved.is_empty() {
        client.commit_offsets(group, topic, &moved).await?;
        known.extend(moved);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_group_of_its_own() {
        let longest = GroupName::parse(&"g".repeat(GROUP_BYTES_MAX)).unwrap();
        let kind = |plugin: &str, code: &str| Kind {
            plugin: PluginName::parse(plugin).unwrap(),
            code: code.to_owned(),
        };
        let names: Vec<_> = [("a", "b"), ("a", "c"), ("a-b", "c"), ("a", "ü \n")]
            .map(|(plugin, code)| kind(plugin, code).group(&longest))
            .into();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name));
            assert_eq!(name.as_str().len(), NAME_BYTES_MAX);
        }
        let group = GroupName::parse("redrive").unwrap();
        assert_eq!(kind("a", "b").group(&group), kind("a", "b").group(&group), "for ever");
    }
}
