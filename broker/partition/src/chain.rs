//! A topic's plugins in one partition, in the order they judge, and what becomes of an event on
//! which one of them fails.
//!
//! Invariant: every fault goes through [`Link::judge`], the one place that knows the policy. The
//! breaker spares a failing plugin and its publishers the waiting; it never changes the policy.
//! What is paused has no link: that is an operator's decision and no fault.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use weir_plugin_host::{
    Emitted, EventContext, FaultCause, LineLevel, Listener, PluginFault, Stage, StageCounters,
    StageVerdict,
};
use weir_wire::admin::{BreakerReport, FailurePolicy};
use weir_wire::ids::{ChainRevision, Digest, PluginName, Timestamp, TopicName};
use weir_wire::keyspace::Keyspace;
use weir_wire::record_batch::Record;
use weir_wire::verdict::Rejection;

use crate::breaker::{Breaker, OPEN_MS, Turn};
use crate::meter::Meter;

/// Lines about failures that one plugin's listener gets in a second of partition time: the first
/// ones say what is wrong, the rest only how often.
const FAULT_LINES_MAX: u32 = 10;

/// The plugins of one partition.
#[derive(Default)]
pub struct Chain {
    /// Counts the changes of the topic's chain.
    pub revision: ChainRevision,
    /// In the order they judge.
    pub links: Vec<Link>,
}

/// Which component of which plugin judges: what a publisher, an operator and a record need to name
/// it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judge {
    /// The plugin.
    pub plugin: PluginName,
    /// The number of its version.
    pub version: u32,
    /// The version's component.
    pub digest: Digest,
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({})", self.plugin, self.version, self.digest.short())
    }
}

/// One plugin in a chain.
pub struct Link {
    judge: Judge,
    policy: FailurePolicy,
    stage: Box<dyn Stage>,
    /// Where its state belongs.
    keyspace: Keyspace,
    /// Why its state is not there. Until it is, every event is a fault.
    unmigrated: Option<PluginFault>,
    dead_letter: Option<TopicName>,
    listener: Option<Arc<dyn Listener>>,
    breaker: Breaker,
    meter: Meter,
    /// What of the stage's counters the meter has had already.
    metered: StageCounters,
    fault_lines: FaultLines,
}

/// How much was said of failures in this second.
#[derive(Debug, Default)]
struct FaultLines {
    /// Since the epoch.
    second: u64,
    said: u32,
    left_out: u64,
}

/// What a link says of an event, its failures already weighed.
pub(crate) enum LinkVerdict {
    /// A word of the plugin.
    Says(StageVerdict),
    /// It failed and the policy is `open`.
    PassesOpen,
    /// It failed and the policy is `closed`.
    Faulted(Rejection),
}

impl Link {
    /// A link that has not failed yet.
    pub fn new(judge: Judge, policy: FailurePolicy, stage: Box<dyn Stage>) -> Self {
        Self {
            judge,
            policy,
            stage,
            keyspace: Keyspace::default(),
            unmigrated: None,
            dead_letter: None,
            listener: None,
            breaker: Breaker::default(),
            meter: Meter::default(),
            metered: StageCounters::default(),
            fault_lines: FaultLines::default(),
        }
    }

    /// The same, with the topic that keeps the events it refuses.
    pub fn with_dead_letter(self, topic: Option<TopicName>) -> Self {
        Self { dead_letter: topic, ..self }
    }

    /// Who judges here, and the topic that keeps what is refused, if one does.
    pub(crate) fn dead_letter(&self) -> Option<(&Judge, &TopicName)> {
        self.dead_letter.as_ref().map(|topic| (&self.judge, topic))
    }

    /// The same, and its failures are told to `listener`.
    pub fn heard_by(self, listener: Arc<dyn Listener>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// The same, its state in `keyspace` and not in the first one.
    pub fn in_keyspace(self, keyspace: Keyspace) -> Self {
        Self { keyspace, ..self }
    }

    /// Where its state belongs.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// Its state is where it belongs, or why not.
    pub(crate) fn set_migrated(&mut self, migrated: Result<(), PluginFault>) {
        if let Err(fault) = &migrated {
            self.tell(
                LineLevel::Error,
                &format!("{fault}; no event is judged until it is changed"),
            );
        }
        self.unmigrated = migrated.err();
    }

    /// Why its state is not where it belongs.
    pub(crate) fn unmigrated(&self) -> Option<String> {
        let fault = self.unmigrated.as_ref()?;
        Some(format!("plugin {} failed: {}", self.judge, fault.detail))
    }

    pub(crate) fn plugin(&self) -> &PluginName {
        &self.judge.plugin
    }

    /// Who judges.
    pub fn who(&self) -> &Judge {
        &self.judge
    }

    pub(crate) fn stage(&mut self) -> &mut dyn Stage {
        &mut *self.stage
    }

    /// The last judged event's effects stand; its side events go behind `side_events`.
    pub(crate) fn keep(&mut self, side_events: &mut Vec<Emitted>) {
        let before = side_events.len();
        self.stage.keep(side_events);
        self.meter.emitted(side_events.len() - before);
    }

    /// The last judged event's effects never were.
    pub(crate) fn discard(&mut self) {
        self.stage.discard();
    }

    pub(crate) fn judge(
        &mut self,
        event: &Record<'_>,
        at: EventContext,
        now: Timestamp,
    ) -> LinkVerdict {
        let judged = match (&self.unmigrated, self.breaker.open(now)) {
            (Some(fault), _) => {
                self.meter.failed(fault.cause);
                Err(fault.clone())
            }
            (None, Some(why)) => {
                self.meter.failed(FaultCause::BreakerOpen);
                Err(PluginFault { cause: FaultCause::BreakerOpen, detail: why.to_string() })
            }
            (None, None) => self.call(event, at, now),
        };
        match (judged, self.policy) {
            (Ok(verdict), _) => LinkVerdict::Says(verdict),
            (Err(_), FailurePolicy::Open) => {
                self.meter.passed_open();
                LinkVerdict::PassesOpen
            }
            (Err(fault), FailurePolicy::Closed) => LinkVerdict::Faulted(Rejection {
                plugin: self.judge.plugin.as_str().to_owned(),
                code: fault.cause.as_str().to_owned(),
                message: format!("plugin {} failed: {}", self.judge, fault.detail),
                retry_after_ms: Some(OPEN_MS),
                fault: true,
            }),
        }
    }

    fn call(
        &mut self,
        event: &Record<'_>,
        at: EventContext,
        now: Timestamp,
    ) -> Result<StageVerdict, PluginFault> {
        let began = self.meter.begin();
        let judged = self.stage.judge(event, at);
        self.meter.end(&judged, began, self.stage.fuel_used());
        if let Err(fault) = &judged {
            self.tell_of(fault, at, now);
        }
        match self.breaker.weigh(judged.is_err(), now) {
            None => {}
            Some(Turn::Opened(why)) => {
                tracing::warn!(
                    plugin = %self.judge, %why, open_ms = OPEN_MS,
                    "plugin keeps failing; not called for a while, its failure policy answers"
                );
                self.tell(LineLevel::Error, &format!("not called for {OPEN_MS} ms: {why}"));
            }
            Some(Turn::Closed) => {
                tracing::info!(plugin = %self.judge, "plugin no longer fails; it is called again");
                self.tell(LineLevel::Info, "it no longer fails and is called again");
            }
        }
        judged
    }

    fn tell_of(&mut self, fault: &PluginFault, at: EventContext, now: Timestamp) {
        let (second, lines) = (now.0 / 1_000, &mut self.fault_lines);
        if lines.second != second {
            let left_out = std::mem::take(&mut lines.left_out);
            *lines = FaultLines { second, ..FaultLines::default() };
            if left_out > 0 {
                self.tell(LineLevel::Warn, &format!("{left_out} more failures were not listed"));
            }
        }
        if self.fault_lines.said == FAULT_LINES_MAX {
            self.fault_lines.left_out += 1;
            return;
        }
        self.fault_lines.said += 1;
        let policy = match self.policy {
            FailurePolicy::Closed => "rejected",
            FailurePolicy::Open => "let pass",
        };
        let instance = match fault.cause {
            FaultCause::Missing | FaultCause::Instantiate => "there is no instance",
            _ => "the instance is thrown away",
        };
        self.tell(
            LineLevel::Error,
            &format!(
                "{fault}; event {} of its batch, near offset {}, is {policy}, {instance}",
                at.index, at.offset_hint
            ),
        );
    }

    fn tell(&self, level: LineLevel, line: &str) {
        if let Some(listener) = &self.listener {
            listener.host_says(level, line);
        }
    }

    /// The figures so far, those of the stage at work included.
    pub(crate) fn figures(&self) -> Meter {
        let mut figures = self.meter.clone();
        figures.ended(self.unmetered());
        figures
    }

    /// Bytes of memory that the stage holds.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.stage.counters().memory_bytes
    }

    pub(crate) fn breaker(&self, now: Timestamp) -> BreakerReport {
        self.breaker.report(now)
    }

    fn unmetered(&self) -> StageCounters {
        let now = self.stage.counters();
        StageCounters {
            instances: now.instances - self.metered.instances,
            log_bytes_cut: now.log_bytes_cut - self.metered.log_bytes_cut,
            ..now
        }
    }
}

/// The figures of plugins that are not at work: they go on when the plugin comes back.
#[derive(Default)]
pub(crate) struct Shelved(BTreeMap<PluginName, Meter>);

/// Plugins whose figures are kept while they are not at work; of more, they begin anew.
const SHELVED_MAX: usize = 64;

impl Shelved {
    /// Hands the figures of one chain's plugins on to those of the next.
    pub(crate) fn hand_over(&mut self, before: &mut Chain, after: &mut Chain) {
        for link in &mut before.links {
            let mut meter = std::mem::take(&mut link.meter);
            meter.ended(link.unmetered());
            link.metered = link.stage.counters();
            if self.0.len() < SHELVED_MAX || self.0.contains_key(link.plugin()) {
                self.0.insert(link.plugin().clone(), meter);
            }
        }
        for link in &mut after.links {
            if let Some(meter) = self.0.remove(link.plugin()) {
                link.meter = meter;
            }
        }
    }

    /// The figures of a plugin that is not at work.
    pub(crate) fn figures(&self, plugin: &PluginName) -> Option<&Meter> {
        self.0.get(plugin)
    }
}
