//! A topic's plugins in one partition, in the order they judge, and what becomes of an event on
//! which one of them fails.
//!
//! Invariant: every fault goes through [`Link::judge`], the one place that knows the policy. The
//! breaker spares a failing plugin and its publishers the waiting; it never changes the policy.

use std::fmt;

use weir_plugin_host::{EventContext, FaultCause, PluginFault, Stage, StageVerdict};
use weir_wire::admin::FailurePolicy;
use weir_wire::ids::{ChainRevision, Digest, PluginName, Timestamp, TopicName};
use weir_wire::record_batch::Record;
use weir_wire::verdict::Rejection;

/// Failures in a row after which a plugin is not called for a while. Five, so that one poisonous
/// event and its retries do not stop a plugin that is well otherwise.
const BREAKER_FAILURES: u32 = 5;
/// How long it is left alone, in ms of partition time: long enough to spare a busy partition,
/// short enough that nobody waits for an operator after a passing cause.
const BREAKER_OPEN_MS: u64 = 1_000;

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
    pub(crate) stage: Box<dyn Stage>,
    dead_letter: Option<TopicName>,
    failures: u32,
    open_until: Timestamp,
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
        Self { judge, policy, stage, dead_letter: None, failures: 0, open_until: Timestamp(0) }
    }

    /// The same, with the topic that keeps the events it refuses.
    pub fn with_dead_letter(self, topic: Option<TopicName>) -> Self {
        Self { dead_letter: topic, ..self }
    }

    /// Who judges here, and the topic that keeps what is refused, if one does.
    pub(crate) fn dead_letter(&self) -> Option<(&Judge, &TopicName)> {
        self.dead_letter.as_ref().map(|topic| (&self.judge, topic))
    }

    pub(crate) fn plugin(&self) -> &PluginName {
        &self.judge.plugin
    }

    pub(crate) fn judge(
        &mut self,
        event: &Record<'_>,
        at: EventContext,
        now: Timestamp,
    ) -> LinkVerdict {
        let judged = if now < self.open_until {
            Err(PluginFault {
                cause: FaultCause::BreakerOpen,
                detail: format!("it failed {BREAKER_FAILURES} times in a row"),
            })
        } else {
            let judged = self.stage.judge(event, at);
            self.weigh(judged.is_err(), now);
            judged
        };
        match (judged, self.policy) {
            (Ok(verdict), _) => LinkVerdict::Says(verdict),
            (Err(_), FailurePolicy::Open) => LinkVerdict::PassesOpen,
            (Err(fault), FailurePolicy::Closed) => LinkVerdict::Faulted(Rejection {
                plugin: self.judge.plugin.as_str().to_owned(),
                code: fault.cause.as_str().to_owned(),
                message: format!("plugin {} failed: {}", self.judge, fault.detail),
                retry_after_ms: Some(BREAKER_OPEN_MS),
                fault: true,
            }),
        }
    }

    /// Counts failures in a row; at the limit the breaker opens. After its time one event tries
    /// again, and one more failure opens it anew.
    fn weigh(&mut self, failed: bool, now: Timestamp) {
        if !failed {
            self.failures = 0;
            return;
        }
        self.failures += 1;
        if self.failures >= BREAKER_FAILURES {
            self.failures = BREAKER_FAILURES - 1;
            self.open_until = Timestamp(now.0.saturating_add(BREAKER_OPEN_MS));
            tracing::warn!(
                plugin = %self.judge,
                open_ms = BREAKER_OPEN_MS,
                "plugin keeps failing; not called for a while, its failure policy answers"
            );
        }
    }
}
