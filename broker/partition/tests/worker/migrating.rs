//! A plugin's state moves to the form of its next version: between two batches, whole or not at all,
//! and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use weir_log::PartitionLog;
use weir_log::commit::Kind;
use weir_partition::{Chain, Judge, Link};
use weir_plugin_host::{
    BatchContext, Change, Emitted, EventContext, FaultCause, MigrateError, Migrated, OldEntry,
    PluginFault, Refusal, Stage, StageVerdict, StateBase,
};
use weir_wire::admin::FailurePolicy;
use weir_wire::ids::{ChainRevision, Digest, PluginName, Position};
use weir_wire::keyspace::{Keyspace, Schema};
use weir_wire::record_batch::Record;

use crate::house::{Ground, House, soon, unnumbered};

/// Counts what is published as `NAME/DAY`; `?NAME/DAY` is refused with the count so far.
struct Tally {
    form: Form,
    /// Bytes of each value beside the count.
    padding: usize,
    base: Option<Arc<dyn StateBase>>,
    kept: BTreeMap<String, u64>,
    pending: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Of no schema, and it takes over nothing.
    Days,
    /// Of the schema `weeks`; it refuses the name `bad` and fails on `trap`.
    Weeks,
    /// The same, and takes over everything.
    KindWeeks,
}

impl Form {
    fn key(self, payload: &str) -> String {
        let (name, day) = payload.split_once('/').unwrap();
        match self {
            Form::Days => payload.to_owned(),
            Form::Weeks | Form::KindWeeks => format!("{name}/w{}", day.parse::<u64>().unwrap() / 7),
        }
    }
}

impl Tally {
    fn count(&self, key: &str) -> u64 {
        let own = self.pending.get(key).or(self.kept.get(key)).copied();
        let stored = || self.base.as_ref().unwrap().get(key.as_bytes());
        own.or_else(|| stored().map(|(value, _)| number(value))).unwrap_or(0)
    }
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(*value.first_chunk().unwrap())
}

impl Stage for Tally {
    fn begin(&mut self, _: &BatchContext, state: Arc<dyn StateBase>) {
        self.base = Some(state);
    }

    fn judge(&mut self, event: &Record<'_>, _: EventContext) -> Result<StageVerdict, PluginFault> {
        let payload = std::str::from_utf8(event.value.unwrap_or_default()).unwrap();
        if let Some(asked) = payload.strip_prefix('?') {
            let message = self.count(&self.form.key(asked)).to_string();
            let refusal = Refusal { code: "is".to_owned(), message, retry_after_ms: None };
            return Ok(StageVerdict::Reject(refusal));
        }
        let key = self.form.key(payload);
        self.pending.insert(key.clone(), self.count(&key) + 1);
        Ok(StageVerdict::Accept)
    }

    fn keep(&mut self, _: &mut Vec<Emitted>) {
        self.kept.append(&mut self.pending);
    }

    fn discard(&mut self) {
        self.pending.clear();
    }

    fn finish(&mut self) -> Vec<Change> {
        self.base = None;
        let padding = vec![0; self.padding];
        let value = |count: u64| [&count.to_le_bytes()[..], &padding].concat().into();
        let kept = std::mem::take(&mut self.kept).into_iter();
        kept.map(|(key, count)| Change {
            key: key.into_bytes().into(),
            value: Some((value(count), None)),
        })
        .collect()
    }

    fn migrate(&mut self, entry: &OldEntry<'_>) -> Result<Migrated, MigrateError> {
        let old = std::str::from_utf8(entry.key).unwrap();
        match (self.form, old.split_once('/').unwrap().0) {
            (Form::Days, _) => return Err(MigrateError::Absent),
            (Form::Weeks, "bad") => return Err(MigrateError::Refused("bad is bad".to_owned())),
            (Form::Weeks, "trap") => {
                let detail = "unreachable".to_owned();
                return Err(PluginFault { cause: FaultCause::Trap, detail }.into());
            }
            _ => {}
        }
        assert_eq!(*entry.schema, Schema::default());
        let key = self.form.key(old);
        let bytes = (key.len() + 8 + self.padding) as u64;
        self.pending.insert(key.clone(), self.count(&key) + number(entry.value));
        Ok(Migrated { bytes, fuel: 1 })
    }
}

fn link(revision: u64, form: Form, keyspace: &str, padding: usize) -> Link {
    let (kept, pending) = Default::default();
    let stage = Tally { form, padding, base: None, kept, pending };
    let judge = Judge { plugin: tally(), version: revision as u32, digest: Digest([7; 32]) };
    let keyspace = Keyspace::parse(keyspace).unwrap();
    Link::new(judge, FailurePolicy::Closed, Box::new(stage)).in_keyspace(keyspace)
}

fn chain(revision: u64, form: Form, keyspace: &str) -> Chain {
    padded(revision, form, keyspace, 0)
}

fn padded(revision: u64, form: Form, keyspace: &str, padding: usize) -> Chain {
    let links = vec![link(revision, form, keyspace, padding)];
    Chain { revision: ChainRevision(revision), links }
}

fn tally() -> PluginName {
    PluginName::parse("tally").unwrap()
}

/// The offset at which the chain is at work, or why it is not.
async fn changed(house: &House, chain: Chain) -> String {
    match soon(house.partition.change_chain(chain, Bytes::new())).await {
        Ok(offset) => offset.to_string(),
        Err(fault) => fault.code.to_string(),
    }
}

async fn told(house: &House, payload: &str) -> String {
    house.publish(unnumbered(), &[payload]).await
}

#[tokio::test]
async fn days_become_weeks_and_counting_goes_on() {
    let ground = Ground::new();
    let house = ground.open(chain(1, Form::Days, "")).await;
    house.publish(unnumbered(), &["ann/8", "ann/9", "ann/9", "bob/14"]).await;
    assert_eq!(told(&house, "?ann/9").await, "is 2");
    assert_eq!(changed(&house, chain(2, Form::Weeks, "weeks@2")).await, "4");
    assert_eq!(told(&house, "?ann/8").await, "is 3");
    assert_eq!(told(&house, "ann/10").await, "@4");
    assert_eq!(told(&house, "?ann/13").await, "is 4");
    assert_eq!(told(&house, "?bob/20").await, "is 1");
    house.crash().await;
    let kinds: Vec<Kind> = ground.commits().await.iter().map(|commit| commit.kind).collect();
    let (chain_, migration) = (Kind::Chain, Kind::Migration);
    assert_eq!(kinds[..5], [chain_, Kind::Batch, migration, chain_, Kind::Batch]);

    // From the checkpoint and from the log alone; nothing has to be taken over again.
    let mut ground = ground.after_a_crash();
    let before = ground.commits().await.len();
    for _ in 0..2 {
        let house = ground.open(chain(2, Form::Weeks, "weeks@2")).await;
        assert_eq!(told(&house, "?ann/13").await, "is 4");
        house.crash().await;
        assert_eq!(ground.commits().await.len(), before);
        ground = ground.after_a_crash().without_checkpoints();
    }
}

/// A migration of many commits, cut off behind each of them: what is found is either the old state or
/// the new, and when the chain that the catalog knows is at work it is the new one, as if nothing had
/// happened.
#[tokio::test]
async fn a_crash_anywhere_leaves_the_old_or_the_new() {
    const PADDING: usize = 60_000;
    let ground = Ground::new();
    let house = ground.open(padded(1, Form::Days, "", PADDING)).await;
    for user in 0..100 {
        let payloads = [7, 8, 8].map(|day| format!("user-{user:03}/{day}"));
        house.publish(unnumbered(), &payloads.each_ref().map(String::as_str)).await;
    }
    let before = ground.log.tail().borrow().position;
    assert_eq!(changed(&house, padded(2, Form::Weeks, "weeks@2", PADDING)).await, "300");
    let end = ground.log.tail().borrow().position;
    assert!(end.0 - before.0 > 5, "it takes several commits: {before} to {end}");
    assert_eq!(told(&house, "?user-042/7").await, "is 3");
    house.close().await;
    for cut in before.0..=end.0 {
        let ground = ground.cut_at(Position(cut));
        let is_new = cut == end.0;
        if !is_new {
            // The operator takes it back before anyone was judged: the old is there, untouched.
            let house = ground.open(padded(3, Form::Days, "", PADDING)).await;
            assert_eq!(told(&house, "?user-042/8").await, "is 2", "cut at {cut}");
            house.crash().await;
        }
        let ground = ground.cut_at(Position(cut));
        let house = ground.open(padded(2, Form::Weeks, "weeks@2", PADDING)).await;
        assert_eq!(told(&house, "?user-042/8").await, "is 3", "cut at {cut}");
        assert_eq!(told(&house, "user-042/13").await, "@300");
        assert_eq!(told(&house, "?user-042/9").await, "is 4", "cut at {cut}");
        assert_eq!(house.snapshot().unmigrated, Vec::<String>::new());
        house.close().await;
    }
}

#[tokio::test]
async fn where_there_is_no_room_the_old_version_judges_on_and_a_start_takes_over() {
    let ground = Ground::new();
    let house = ground.open(chain(1, Form::Days, "")).await;
    house.publish(unnumbered(), &["ann/8", "ann/9"]).await;
    // The question for room is answered with yes, and then there is none.
    ground.log.refuse_next_group();
    assert_eq!(changed(&house, chain(2, Form::Weeks, "weeks@2")).await, "storage-full");
    assert_eq!(told(&house, "ann/9").await, "@2");
    assert_eq!(told(&house, "?ann/9").await, "is 2", "as if nothing had happened");
    house.crash().await;

    let ground = ground.after_a_crash();
    ground.log.set_full(true);
    let house = ground.open(chain(2, Form::Weeks, "weeks@2")).await;
    assert_eq!(told(&house, "?ann/9").await, "storage-full");
    ground.log.set_full(false);
    assert_eq!(told(&house, "?ann/9").await, "is 3", "nobody is judged before it is taken over");
    house.close().await;
}

#[tokio::test]
async fn a_full_disk_in_the_middle_leaves_a_piece_that_is_made_anew() {
    const PADDING: usize = 60_000;
    let ground = Ground::new();
    let house = ground.open(padded(1, Form::Days, "", PADDING)).await;
    for user in 0..300 {
        told(&house, &format!("user-{user:03}/7")).await;
    }
    ground.log.hold_durability();
    let door = house.partition.clone();
    let weeks = padded(2, Form::Weeks, "weeks@2", PADDING);
    let change = tokio::spawn(async move { door.change_chain(weeks, Bytes::new()).await });
    // The first group is with the log, and the migration waits for it.
    let durable = ground.log.tail().borrow().position;
    let written = async {
        while ground.log.written() == durable {
            tokio::task::yield_now().await;
        }
    };
    soon(written).await;
    ground.log.set_full(true);
    ground.log.release_durability();
    assert_eq!(soon(change).await.unwrap().unwrap_err().code.as_str(), "storage-full");
    let commits = ground.commits().await;
    assert!(commits.iter().any(|commit| commit.kind == Kind::Migration), "a piece is there");
    ground.log.set_full(false);
    assert_eq!(told(&house, "?user-299/7").await, "is 1", "the old version judges on");
    assert_eq!(house.snapshot().chain, ChainRevision(1));
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(padded(2, Form::Weeks, "weeks@2", PADDING)).await;
    assert_eq!(told(&house, "?user-299/9").await, "is 1");
    assert_eq!(told(&house, "?user-000/9").await, "is 1");
    assert_eq!(house.snapshot().chain, ChainRevision(2));
    house.close().await;
}

#[tokio::test]
async fn a_rollback_finds_the_state_of_the_swap_and_forward_takes_over_anew() {
    let ground = Ground::new();
    let house = ground.open(chain(1, Form::Days, "")).await;
    house.publish(unnumbered(), &["ann/8", "ann/9"]).await;
    changed(&house, chain(2, Form::Weeks, "weeks@2")).await;
    told(&house, "ann/9").await;
    assert_eq!(told(&house, "?ann/9").await, "is 3");
    changed(&house, chain(3, Form::Days, "")).await;
    assert_eq!(told(&house, "?ann/9").await, "is 1", "as it was at the swap");
    house.publish(unnumbered(), &["ann/9", "ann/9"]).await;
    // The rollback undone: the state of the weeks, as it was when they were left.
    changed(&house, chain(4, Form::Weeks, "weeks@2")).await;
    assert_eq!(told(&house, "?ann/9").await, "is 3");
    changed(&house, chain(5, Form::Days, "")).await;
    changed(&house, chain(6, Form::Weeks, "weeks@6")).await;
    assert_eq!(told(&house, "?ann/9").await, "is 4", "taken over from the days, as they are");
    // At most two are kept: to what was there before the last change there is no way back.
    let held: Vec<String> = keyspaces_cleared(&ground).await;
    assert_eq!(held, ["weeks@2"]);
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(chain(7, Form::Days, "")).await;
    assert_eq!(told(&house, "?ann/9").await, "is 3");
    house.close().await;
}

async fn keyspaces_cleared(ground: &Ground) -> Vec<String> {
    let cleared = weir_log::commit::KeyspaceFate::Cleared;
    let changes = ground.commits().await.into_iter().flat_map(|commit| commit.keyspaces);
    changes
        .filter(|change| change.fate == cleared)
        .map(|change| change.keyspace.to_string())
        .collect()
}

#[tokio::test]
async fn a_version_of_the_same_form_keeps_the_state() {
    let ground = Ground::new();
    let house = ground.open(chain(1, Form::Weeks, "weeks@1")).await;
    house.publish(unnumbered(), &["ann/8", "ann/9"]).await;
    changed(&house, chain(2, Form::Weeks, "weeks@1")).await;
    assert_eq!(told(&house, "?ann/9").await, "is 2");
    // A partition that missed a change finds another number and the same form.
    changed(&house, chain(3, Form::Weeks, "weeks@3")).await;
    assert_eq!(told(&house, "?ann/9").await, "is 2");
    house.crash().await;
    let kinds = ground.commits().await;
    assert!(kinds.iter().all(|commit| commit.kind != Kind::Migration));
}

#[tokio::test]
async fn what_is_not_taken_over_is_said_by_a_trial_and_is_a_fault_of_every_event() {
    for (user, words) in [
        ("bad", "it does not take over key \"bad/9\" of the schema \"\": bad is bad"),
        (
            "trap",
            "it does not take over key \"trap/9\" of the schema \"\": plugin-trap: unreachable",
        ),
    ] {
        let ground = Ground::new();
        let house = ground.open(chain(1, Form::Days, "")).await;
        let weeks = Keyspace::parse("weeks@2").unwrap();
        house.publish(unnumbered(), &["ann/8", "ann/9", &format!("{user}/9")]).await;
        let trial = soon(house.partition.trial(tally(), weeks)).await.unwrap();
        let before = ground.commits().await.len();
        let fault = trial.unwrap().run(&mut link(2, Form::Weeks, "weeks@2", 0)).unwrap_err();
        assert_eq!((fault.cause.as_str(), &*fault.detail), ("plugin-migrate", words));
        assert_eq!(ground.commits().await.len(), before, "nothing was done");

        // The state has moved on since a trial: this one had not failed.
        assert_eq!(changed(&house, chain(2, Form::Weeks, "weeks@2")).await, "3");
        let failed = format!("plugin tally@2 (070707070707) failed: {words}");
        assert_eq!(told(&house, "ann/9").await, format!("plugin-migrate {failed}"));
        assert_eq!(house.snapshot().unmigrated, [failed.as_str()]);
        house.crash().await;

        // A start tries it once more, and so does not change what was recorded.
        let ground = ground.after_a_crash();
        let house = ground.open(chain(2, Form::Weeks, "weeks@2")).await;
        assert_eq!(told(&house, "ann/9").await, format!("plugin-migrate {failed}"));
        // Rolled back, it serves, on the state as it was.
        assert_eq!(changed(&house, chain(3, Form::Days, "")).await, "3");
        assert_eq!(told(&house, "?ann/9").await, "is 1");
        assert_eq!(house.snapshot().unmigrated, Vec::<String>::new());
        // A version that takes it over finds nothing of the attempt.
        assert_eq!(changed(&house, chain(4, Form::KindWeeks, "weeks@4")).await, "3");
        assert_eq!(told(&house, "?ann/9").await, "is 2");
        house.close().await;
    }
}

#[tokio::test]
async fn a_version_that_takes_over_nothing_can_begin_where_nothing_is() {
    let ground = Ground::new();
    let house = ground.open(chain(1, Form::Weeks, "weeks@1")).await;
    let days = || Keyspace::parse("@2").unwrap();
    let trial = soon(house.partition.trial(tally(), days())).await.unwrap().unwrap();
    assert_eq!(trial.run(&mut link(2, Form::Days, "@2", 0)), Ok(()));
    told(&house, "ann/9").await;
    let trial = soon(house.partition.trial(tally(), days())).await.unwrap().unwrap();
    let fault = trial.run(&mut link(2, Form::Days, "@2", 0)).unwrap_err();
    assert!(
        fault.detail.starts_with(
            "its state here has another form (1 keys of the schema \"weeks\"), and it exports no \
             weir:plugin/migration: push a version that takes it over, roll back"
        ),
        "{fault}"
    );
    house.close().await;
}
