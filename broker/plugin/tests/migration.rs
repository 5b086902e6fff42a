//! What a stage promises when it takes over the state of an earlier version.

mod rig;

use std::sync::Arc;

use bytes::Bytes;
use rig::{Base, context, event, host, judge_all, plugin, stage, try_stage, wasm};
use weir_plugin_host::{FaultCause, MigrateError, Migrated, OldEntry, Stage};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PluginName, Timestamp};
use weir_wire::keyspace::Schema;

fn schema(name: &str) -> Schema {
    Schema::parse(name).expect("a schema")
}

/// Hands one entry over.
fn migrate(
    stage: &mut dyn Stage,
    from: &str,
    key: &str,
    value: &[u8],
    ttl_ms: Option<u64>,
) -> Result<Migrated, MigrateError> {
    let entry = OldEntry { schema: &schema(from), key: key.as_bytes(), value, ttl_ms };
    let migrated = stage.migrate(&entry);
    stage.keep(&mut Vec::new());
    migrated
}

#[test]
fn a_component_says_its_schema_and_most_have_none() {
    assert_eq!(plugin("counter").schema().as_str(), "");
    assert_eq!(plugin("per-letter").schema().as_str(), "per-letter");
    for (probe, words) in [
        ("bad-schema", ["schema \"per week\" is not valid: use up to 64"; 2]),
        // Both are about a second; which comes first is the machine's affair.
        ("spin-in-schema", ["used up its fuel", "gave no answer within"]),
    ] {
        let artefact = host().compile(&wasm(probe)).expect("a probe that compiles");
        let name = PluginName::parse(probe).expect("a name");
        let error = host().load(name, Digest([0; 32]), &artefact).expect_err(probe).to_string();
        assert!(words.iter().any(|words| error.contains(words)), "{probe}: {error}");
    }
    let error = host().compile(&wasm("half-migration")).expect_err("no migrate").to_string();
    assert!(error.contains("does not fit the world"), "{error}");
}

#[test]
fn several_entries_become_one_and_verdicts_go_on_from_there() {
    let mut old = Base::default();
    let mut counter = stage("counter", r#"{"limit":9}"#);
    let of = |keys: &[&str]| keys.iter().map(|key| event(key, "", 1)).collect::<Vec<_>>();
    let before = of(&["alice", "alice", "anna", "bert"]);
    old.fold(judge_all(&mut counter, &old, 1_000, &before).changes);

    let mut letters = stage("per-letter", r#"{"limit":4}"#);
    letters.begin(&context(5_000), Arc::new(Base::default()));
    for (key, (value, expires_at)) in &old.0 {
        let ttl_ms = expires_at.map(|at| at.0 - 5_000);
        let key = std::str::from_utf8(key).expect("text");
        let migrated = migrate(&mut letters, "", key, value, ttl_ms).expect("a counter");
        assert_eq!(migrated.bytes, 9, "one byte of key and a counter");
        assert!((1..10_000).contains(&migrated.fuel), "{migrated:?}");
    }
    let mut new = Base::default();
    new.fold(letters.finish());
    assert_eq!((new.counter("a"), new.counter("b")), (Some(3), Some(1)));
    let (_, expires_at) = &new.0[&b"a"[..]];
    assert_eq!(*expires_at, Some(Timestamp(1_000 + 86_400_000)), "the time to live is the old one");
    let outcome = judge_all(&mut letters, &new, 6_000, &of(&["adam", "arne", "bea"]));
    assert_eq!(outcome.signs(), "+-+");
}

#[test]
fn what_was_not_taken_over_has_no_effects_and_says_why() {
    let one = 1_i64.to_le_bytes();
    let over = Limits { state_keys: 0, ..Limits::default() };
    for (from, key, value, limits, words) in [
        ("", "k", &b"text"[..], Limits::default(), "it says: this is no counter"),
        ("odd", "k", &one, Limits::default(), "it says: this is no counter"),
        ("", "!", &one, Limits::default(), "plugin-trap: wasm trap: wasm `unreachable`"),
        ("", "@", &one, Limits::default(), "plugin-timeout: used up its fuel"),
        ("", "~", &one, Limits::default(), "plugin-trap: called outbox outside of process"),
        ("", "*", &one, Limits::default(), "plugin-state-quota: over 64 changed keys"),
        ("", "k", &one, over, "plugin-state-quota: over 0 keys"),
    ] {
        let mut stage = try_stage("per-letter", r#"{"limit":4}"#, limits).expect("takes it");
        stage.begin(&context(1), Arc::new(Base::default()));
        let error = migrate(&mut stage, from, key, value, None).expect_err(words).to_string();
        assert!(error.starts_with(words), "{error}");
        assert!(stage.finish().is_empty(), "{words}");
        assert!(stage.counters().instances == 1);
        // It is no worse for it.
        stage.begin(&context(1), Arc::new(Base::default()));
        let again = migrate(&mut stage, "", "k", &one, None);
        assert_eq!(again.is_ok(), limits.state_keys > 0, "{again:?}");
        stage.finish();
    }
}

#[test]
fn a_component_without_migrate_takes_over_nothing() {
    let mut stage = stage("counter", r#"{"limit":9}"#);
    stage.begin(&context(1), Arc::new(Base::default()));
    let error = migrate(&mut stage, "", "k", b"", None).expect_err("it cannot");
    assert_eq!(error, MigrateError::Absent);
}

#[test]
fn an_entry_sees_what_the_ones_before_have_left_also_beyond_a_chunk() {
    let mut stage = stage("per-letter", r#"{"limit":4}"#);
    let mut new = Base::default();
    for key in ["a1", "a2", "a3"] {
        stage.begin(&context(1), Arc::new(new.clone()));
        migrate(&mut stage, "", key, &2_i64.to_le_bytes(), None).expect("a counter");
        new.fold(stage.finish());
    }
    assert_eq!(new.counter("a"), Some(6));
    assert_eq!(new.0[&b"a"[..]].1, None);
    let _: &Bytes = new.0.keys().next().expect("one key");
    assert_eq!(FaultCause::Migrate.as_str(), "plugin-migrate");
}
