//! JSON: bodies of the admin API, the config of `daily-limit`, and the changes in the internal
//! topics with their folds.
#![no_main]

#[path = "../../../plugins/daily-limit/src/config.rs"]
mod config;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_fuzz::bounded;
use weir_views::catalog::{Catalog, CatalogChange};
use weir_views::offsets::{CommittedOffsets, OffsetChange};
use weir_wire::admin::{
    BindingSpec, Chain, ChainChange, PluginDescription, Problem, Status, TopicDescription,
    TopicSpec,
};

// The first byte: what the rest is.
fuzz_target!(|input: &[u8]| {
    let Some((what, json)) = input.split_first() else { return };
    bounded(|| match what % 11 {
        0 => catalog(json),
        1 => offsets(json),
        2 => drop(read::<TopicSpec>(json)),
        3 => drop(read::<BindingSpec>(json)),
        4 => drop(read::<Chain>(json)),
        5 => drop(read::<ChainChange>(json)),
        6 => drop(read::<PluginDescription>(json)),
        7 => drop(read::<TopicDescription>(json)),
        8 => drop(read::<Status>(json)),
        9 => drop(read::<Problem>(json)),
        _ => drop(str::from_utf8(json).map(config::Config::parse)),
    });
});

/// What was read is written as JSON that is read as the same.
fn read<T: DeserializeOwned + Serialize + PartialEq>(json: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(json).ok()?;
    let again = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = serde_json::from_slice(&again).expect("what was written can be read");
    assert!(again == read, "JSON that was written says the same");
    Some(read)
}

/// One change a line.
fn catalog(lines: &[u8]) {
    let mut catalog = Catalog::default();
    for change in lines.split(|byte| *byte == b'\n').filter_map(read::<CatalogChange>) {
        let allowed = catalog.check(&change);
        let (topics, ids) = (catalog.next_topic(), catalog.producer_ids_up_to());
        catalog.apply(&change);
        assert!(topics <= catalog.next_topic(), "a topic's number is never used twice");
        assert!(ids <= catalog.producer_ids_up_to(), "a producer id is never given out twice");
        if let (Ok(()), CatalogChange::TopicCreated { topic }) = (&allowed, &change) {
            assert!(topics < catalog.next_topic(), "{topic:?} was given a number");
        }
        for name in catalog.plugins() {
            let _ = catalog.resolve(name, Some("1"));
            let _ = catalog.resolve(name, Some("a5a5a5a5"));
            catalog.versions(name);
            catalog.next_version(name);
        }
    }
    read::<Catalog>(&serde_json::to_vec(&catalog).expect("a catalog is JSON"));
}

/// One change a line.
fn offsets(lines: &[u8]) {
    let mut offsets = CommittedOffsets::default();
    for change in lines.split(|byte| *byte == b'\n').filter_map(read::<OffsetChange>) {
        offsets.apply(&change);
        if let OffsetChange::Committed(one) = change {
            assert_eq!(offsets.offset(&one.group, one.topic, one.partition), Some(one.offset));
        }
    }
    assert!(offsets.all().collect::<CommittedOffsets>() == offsets, "a fold of a fold is the fold");
}
