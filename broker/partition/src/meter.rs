//! What a plugin said, how long it took, and what it used up: counted for operators, event by event.
//!
//! Promises: no lock, and no allocation but for a code that is new. Fuel is noted for every call; the
//! clock is read for one call in sixteen, by chance: two readings of 20 ns are a fifteenth of what a
//! small rule takes for an event, and a stride would fall into step with the events.

use std::time::{Duration, Instant};

use weir_plugin_host::{FaultCause, PluginFault, StageCounters, StageVerdict};
use weir_wire::admin::{FuelUse, Latency, VerdictCounts};

use crate::histogram::Histogram;

/// Codes of refusals that are counted by name; a plugin that makes up more has the rest in one sum.
const CODES_MAX: usize = 32;
/// Calls per measured one, on the average.
const SAMPLE_EVERY: u32 = 16;

/// The figures of one plugin in one partition. Adding those of others gives the topic's.
#[derive(Debug, Clone)]
pub struct Meter {
    accepted: u64,
    replaced: u64,
    dropped: u64,
    rejected: Vec<(String, u64)>,
    rejected_otherwise: u64,
    /// By the place of the cause in [`FaultCause::ALL`].
    faults: [u64; FaultCause::ALL.len()],
    passed_open: u64,
    side_events: u64,
    latency: Histogram,
    fuel: Histogram,
    /// Calls until one is measured.
    until_sample: u32,
    chance: u32,
    /// What the stages before the one at work have made.
    made: Made,
}

/// What stages make in their lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Made {
    instances: u64,
    log_bytes_cut: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            accepted: 0,
            replaced: 0,
            dropped: 0,
            rejected: Vec::new(),
            rejected_otherwise: 0,
            faults: [0; FaultCause::ALL.len()],
            passed_open: 0,
            side_events: 0,
            latency: Histogram::default(),
            fuel: Histogram::default(),
            until_sample: 1,
            // Any but zero: it only has to be out of step with the events.
            chance: 0x9E37_79B9,
            made: Made::default(),
        }
    }
}

impl Meter {
    /// A call begins; its time, if it is one of those that are measured.
    pub(crate) fn begin(&mut self) -> Option<Instant> {
        self.until_sample -= 1;
        if self.until_sample > 0 {
            return None;
        }
        // Xorshift: from 1 to 31 calls, 16 on the average.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        self.until_sample = 1 + self.chance % (2 * SAMPLE_EVERY - 1);
        Some(Instant::now())
    }

    /// It has ended.
    pub(crate) fn end(
        &mut self,
        judged: &Result<StageVerdict, PluginFault>,
        began: Option<Instant>,
        fuel: u64,
    ) {
        if let Some(began) = began {
            self.took(began.elapsed());
        }
        self.fuel.note(fuel);
        match judged {
            Ok(StageVerdict::Accept) => self.accepted += 1,
            Ok(StageVerdict::Replace(_)) => self.replaced += 1,
            Ok(StageVerdict::Drop) => self.dropped += 1,
            Ok(StageVerdict::Reject(refusal)) => self.rejected(&refusal.code, 1),
            Err(fault) => self.failed(fault.cause),
        }
    }

    fn took(&mut self, time: Duration) {
        self.latency.note(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// It failed, or was not called.
    pub(crate) fn failed(&mut self, cause: FaultCause) {
        self.faults[cause as usize] += 1;
    }

    /// Its policy let an event pass on which it failed.
    pub(crate) fn passed_open(&mut self) {
        self.passed_open += 1;
    }

    /// It emitted so many side events that stand.
    pub(crate) fn emitted(&mut self, side_events: usize) {
        self.side_events += side_events as u64;
    }

    /// A stage that was at work is no more.
    pub(crate) fn ended(&mut self, stage: StageCounters) {
        self.made.instances += stage.instances;
        self.made.log_bytes_cut += stage.log_bytes_cut;
    }

    fn rejected(&mut self, code: &str, count: u64) {
        match self.rejected.iter().position(|(known, _)| known == code) {
            Some(place) => self.rejected[place].1 += count,
            None if self.rejected.len() < CODES_MAX => {
                self.rejected.push((code.to_owned(), count));
            }
            None => self.rejected_otherwise += count,
        }
    }

    /// Another partition's figures too.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.replaced += other.replaced;
        self.dropped += other.dropped;
        self.rejected_otherwise += other.rejected_otherwise;
        for (code, count) in &other.rejected {
            self.rejected(code, *count);
        }
        for (mine, theirs) in self.faults.iter_mut().zip(&other.faults) {
            *mine += theirs;
        }
        self.passed_open += other.passed_open;
        self.side_events += other.side_events;
        self.latency.add(&other.latency);
        self.fuel.add(&other.fuel);
        self.made.instances += other.made.instances;
        self.made.log_bytes_cut += other.made.log_bytes_cut;
    }

    /// What it said.
    pub fn verdicts(&self) -> VerdictCounts {
        let faults = FaultCause::ALL.iter().zip(self.faults).filter(|(_, count)| *count > 0);
        VerdictCounts {
            accepted: self.accepted,
            replaced: self.replaced,
            dropped: self.dropped,
            rejected: self.rejected.iter().cloned().collect(),
            rejected_otherwise: self.rejected_otherwise,
            faults: faults.map(|(cause, count)| (cause.as_str().to_owned(), count)).collect(),
            passed_open: self.passed_open,
        }
    }

    /// How long it took.
    pub fn latency(&self) -> Latency {
        Latency {
            sampled: self.latency.count(),
            p50_ns: self.latency.quantile(500),
            p99_ns: self.latency.quantile(990),
            p999_ns: self.latency.quantile(999),
            max_ns: self.latency.max(),
        }
    }

    /// What it used up.
    pub fn fuel(&self) -> FuelUse {
        FuelUse {
            events: self.fuel.count(),
            p50: self.fuel.quantile(500),
            p99: self.fuel.quantile(990),
            max: self.fuel.max(),
        }
    }

    /// Instances made.
    pub fn instances(&self) -> u64 {
        self.made.instances
    }

    /// Bytes of log lines that are gone.
    pub fn log_bytes_cut(&self) -> u64 {
        self.made.log_bytes_cut
    }

    /// Side events that stand.
    pub fn side_events(&self) -> u64 {
        self.side_events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_plugin_host::Refusal;

    fn rejects(meter: &mut Meter, code: &str) {
        let refusal =
            Refusal { code: code.to_owned(), message: String::new(), retry_after_ms: None };
        meter.end(&Ok(StageVerdict::Reject(refusal)), None, 7);
    }

    #[test]
    fn codes_beyond_the_first_are_one_sum() {
        let mut meter = Meter::default();
        for number in 0..CODES_MAX + 3 {
            rejects(&mut meter, &format!("code-{number}"));
        }
        rejects(&mut meter, "code-1");
        let counts = meter.verdicts();
        assert_eq!((counts.rejected.len(), counts.rejected_otherwise), (CODES_MAX, 3));
        assert_eq!(counts.rejected["code-1"], 2);
        assert_eq!(counts.rejected_total(), CODES_MAX as u64 + 4);
        assert_eq!(meter.fuel().events, CODES_MAX as u64 + 4);
    }

    #[test]
    fn one_call_in_sixteen_is_measured_and_not_in_step() {
        let mut meter = Meter::default();
        let measured: Vec<u32> = (0..16_000).filter(|_| meter.begin().is_some()).collect();
        assert!((900..1_100).contains(&measured.len()), "{}", measured.len());
        let places: std::collections::BTreeSet<u32> = measured.iter().map(|at| at % 16).collect();
        assert_eq!(places.len(), 16, "each place of a batch of 16 has its turn");
    }

    #[test]
    fn every_cause_has_its_place() {
        let mut meter = Meter::default();
        for (place, cause) in FaultCause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, place);
            meter.failed(*cause);
        }
        assert_eq!(meter.verdicts().faults.len(), FaultCause::ALL.len());
    }
}
