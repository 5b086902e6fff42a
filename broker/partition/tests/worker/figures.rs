//! What is counted of a plugin: over changes of its chain, while it is not at work, and where its
//! breaker is open; and what its listener hears of failures.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use weir_partition::{Chain, Judge, Link, PluginUse};
use weir_plugin_host::{
    BatchContext, Change, Emitted, EventContext, FaultCause, LineLevel, Listener, PluginFault,
    Stage, StageCounters, StageVerdict, StateBase,
};
use weir_wire::admin::{BreakerState, FailurePolicy};
use weir_wire::ids::{ChainRevision, Digest, Offset, PluginName};
use weir_wire::record_batch::Record;

use crate::counting::{EMIT, REFUSE, counting};
use crate::house::{Ground, House, soon, unnumbered};

async fn used(house: &House, plugin: &str) -> PluginUse {
    let plugin = PluginName::parse(plugin).unwrap();
    soon(house.partition.plugin_use(&plugin)).await.unwrap()
}

#[tokio::test]
async fn counts_go_on_over_swaps_and_while_it_is_away() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(unnumbered(), &["one", REFUSE, EMIT]).await;
    let at_work = used(&house, "counting").await;
    assert_eq!(at_work.judge.as_ref().unwrap().version, 1);
    assert_eq!((at_work.since, at_work.state_keys, at_work.state_bytes), (Some(Offset(0)), 1, 9));
    let verdicts = at_work.figures.verdicts();
    assert_eq!((verdicts.replaced, verdicts.rejected["refused"]), (2, 1));
    assert_eq!(at_work.figures.side_events(), 1);

    let note = |revision: u64| Bytes::from(format!("{{\"revision\":{revision}}}"));
    soon(house.partition.change_chain(counting(2, "b"), note(2))).await.unwrap();
    house.publish(unnumbered(), &["two"]).await;
    let swapped = used(&house, "counting").await;
    assert_eq!((swapped.judge.unwrap().version, swapped.since), (2, Some(Offset(2))));
    assert_eq!(swapped.figures.verdicts().replaced, 3);

    let nobody = Chain { revision: ChainRevision(3), links: Vec::new() };
    soon(house.partition.change_chain(nobody, note(3))).await.unwrap();
    house.publish(unnumbered(), &["three"]).await;
    let away = used(&house, "counting").await;
    assert_eq!((away.judge, away.since, away.state_keys), (None, None, 1));
    assert_eq!(away.figures.verdicts().replaced, 3, "it was not asked");

    soon(house.partition.change_chain(counting(4, "d"), note(4))).await.unwrap();
    house.publish(unnumbered(), &["four"]).await;
    let back = used(&house, "counting").await;
    assert_eq!((back.figures.verdicts().replaced, back.since), (4, Some(Offset(4))));
    house.close().await;

    let house = ground.after_a_crash().open(counting(4, "d")).await;
    let anew = used(&house, "counting").await;
    assert_eq!(anew.since, Some(Offset(4)), "the log knows");
    assert_eq!(anew.figures.verdicts(), Default::default(), "counted since the start");
}

#[tokio::test]
async fn counts_go_on_where_a_change_finds_no_room() {
    let ground = Ground::new();
    let house = ground.open(failing(1, FailurePolicy::Closed, &Heard::default())).await;
    house.publish(unnumbered(), &["pass"]).await;
    assert_eq!(used(&house, "failing").await.figures.instances(), 1);
    ground.log.refuse_next_group();
    let change = failing(2, FailurePolicy::Closed, &Heard::default());
    assert!(soon(house.partition.change_chain(change, Bytes::new())).await.is_err());
    house.publish(unnumbered(), &["pass"]).await;
    let used = used(&house, "failing").await;
    assert_eq!((used.judge.unwrap().version, used.figures.verdicts().accepted), (1, 2));
    assert_eq!(used.figures.instances(), 2, "the first one, and the one that came to nothing");
}

#[tokio::test]
async fn every_answer_of_a_failure_names_version_digest_and_cause() {
    let heard = Heard::default();
    let ground = Ground::new();
    let house = ground.open(failing(2, FailurePolicy::Closed, &heard)).await;
    let told = house.publish(unnumbered(), &["fail"]).await;
    let named = "plugin failing@2 (020202020202) failed: ";
    assert_eq!(told, format!("plugin-trap {named}out of luck"));
    house.publish(unnumbered(), &["fail", "fail", "fail", "fail"]).await;
    let told = house.publish(unnumbered(), &["pass"]).await;
    assert_eq!(told, format!("plugin-breaker-open {named}it failed 5 times in a row"));

    let used = used(&house, "failing").await;
    assert_eq!((used.breaker.state, used.breaker.opened), (BreakerState::Open, 1));
    let faults = used.figures.verdicts().faults;
    assert_eq!((faults["plugin-trap"], faults["plugin-breaker-open"]), (5, 1));
    assert_eq!(used.figures.fuel().events, 5, "it was not called the sixth time");
    let lines = heard.lines();
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert_eq!(
        lines[0],
        "plugin-trap: out of luck; event 0 of its batch, near offset 0, is rejected, the instance is thrown away"
    );
    assert_eq!(lines[5], "not called for 1000 ms: it failed 5 times in a row");
}

#[tokio::test]
async fn a_flood_of_failures_is_no_flood_of_lines() {
    let heard = Heard::default();
    let ground = Ground::new();
    let house = ground.open(failing(1, FailurePolicy::Open, &heard)).await;
    // Every second one fails: the breaker stays closed.
    for _ in 0..30 {
        house.publish(unnumbered(), &["fail", "pass"]).await;
    }
    assert_eq!(heard.lines().len(), 10);
    ground.clock_ms.fetch_add(1_000, std::sync::atomic::Ordering::Relaxed);
    house.publish(unnumbered(), &["fail"]).await;
    assert_eq!(heard.lines()[10], "20 more failures were not listed");
    let verdicts = used(&house, "failing").await.figures.verdicts();
    assert_eq!((verdicts.accepted, verdicts.faults_total(), verdicts.passed_open), (30, 31, 31));
}

/// A chain of one plugin that fails where an event says so.
fn failing(version: u32, policy: FailurePolicy, heard: &Heard) -> Chain {
    let plugin = PluginName::parse("failing").unwrap();
    let judge = Judge { plugin, version, digest: Digest([version as u8; 32]) };
    let link = Link::new(judge, policy, Box::new(Failing)).heard_by(Arc::new(heard.clone()));
    Chain { revision: ChainRevision(version.into()), links: vec![link] }
}

struct Failing;

impl Stage for Failing {
    fn begin(&mut self, _: &BatchContext, _: Arc<dyn StateBase>) {}

    fn judge(&mut self, event: &Record<'_>, _: EventContext) -> Result<StageVerdict, PluginFault> {
        match event.value {
            Some(b"fail") => {
                Err(PluginFault { cause: FaultCause::Trap, detail: "out of luck".to_owned() })
            }
            _ => Ok(StageVerdict::Accept),
        }
    }

    fn counters(&self) -> StageCounters {
        StageCounters { instances: 1, ..StageCounters::default() }
    }

    fn keep(&mut self, _: &mut Vec<Emitted>) {}

    fn discard(&mut self) {}

    fn finish(&mut self) -> Vec<Change> {
        Vec::new()
    }
}

#[derive(Default, Clone)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Listener for Heard {
    fn plugin_says(&self, _: LineLevel, line: &str) {
        panic!("this plugin says nothing: {line}");
    }

    fn host_says(&self, _: LineLevel, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}
