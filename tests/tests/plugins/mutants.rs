//! B12: components that are almost right. The probes' texts and bytes, changed at random: a mutant is
//! refused with a sentence or judged within its limits, and the host never panics.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use weir_plugin_host::{
    BatchContext, BindingSettings, EventContext, Host, HostOptions, Stage, StateBase,
};
use weir_tests::bed::{name, probe};
use weir_tests::load::topic;
use weir_tests::torture::{Row, sized};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PartitionId, Principal, Timestamp};
use weir_wire::record_batch::Event;

/// Mutants of a landing, and of a release.
const MUTANTS: (u64, u64) = (1_500, 100_000);
/// What a landing gives them.
const CI_MAX: Duration = Duration::from_secs(60);
const PROBES: [&str; 8] =
    ["accept", "counter", "emit", "replace", "reject", "script", "interpreter", "clocks"];
/// Numbers at which things break.
const NUMBERS: [&str; 10] =
    ["0", "1", "-1", "7", "255", "4096", "65535", "65536", "2147483647", "-2147483648"];

struct Nothing;

impl StateBase for Nothing {
    fn hash(&self, key: &[u8]) -> u64 {
        key.iter().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()))
    }
    fn get_hashed(&self, _: u64, _: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        None
    }
    fn keys(&self) -> u64 {
        0
    }
    fn bytes(&self) -> u64 {
        0
    }
}

/// Another text: some numbers are others, some lines are gone, doubled or elsewhere.
fn text_mutant(text: &str, rng: &mut fastrand::Rng) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=rng.usize(..4) {
        let (at, other) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
        match rng.u8(..8) {
            0 => drop(lines.remove(at)),
            1 => {
                let line = lines[at].clone();
                lines.insert(other, line);
            }
            2 => lines.swap(at, other),
            3 => lines[at] = lines[at].replacen("i32.", "i64.", 1),
            4 => lines[at] = lines[at].replacen("store", "load", 1),
            _ => {
                let line = &lines[at];
                let digits: Vec<usize> = line
                    .match_indices(|c: char| c.is_ascii_digit())
                    .map(|(place, _)| place)
                    .filter(|place| line[..*place].ends_with(' '))
                    .collect();
                if let Some(&from) = rng.choice(&digits) {
                    let length = line[from..].find(|c: char| !c.is_ascii_digit());
                    let to = length.map_or(line.len(), |length| from + length);
                    let number = NUMBERS[rng.usize(..NUMBERS.len())];
                    lines[at] = format!("{}{number}{}", &line[..from], &line[to..]);
                }
            }
        }
    }
    lines.join("\n")
}

fn byte_mutant(mut bytes: Vec<u8>, rng: &mut fastrand::Rng) -> Vec<u8> {
    for _ in 0..=rng.usize(..3) {
        let at = rng.usize(..bytes.len());
        match rng.u8(..4) {
            0 => drop(bytes.remove(at)),
            1 => bytes.insert(at, rng.u8(..)),
            _ => bytes[at] = rng.u8(..),
        }
    }
    bytes
}

#[test]
fn b12_components_that_are_almost_right() {
    let mut row = Row::begin("B12", "components that are almost right");
    let mut rng = row.rng();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/probes/");
    let shell = fs::read_to_string(format!("{folder}world.wat")).unwrap();
    let texts: Vec<String> = PROBES
        .iter()
        .map(|probe| fs::read_to_string(format!("{folder}{probe}.wat")).unwrap())
        .collect();
    let host = Host::new(HostOptions::default()).unwrap();
    let limits = Limits { fuel: 100_000, deadline_ms: 1_000, ..Limits::default() };
    for _ in 0..sized(MUTANTS.0, MUTANTS.1) {
        if !row.has_time(CI_MAX) {
            break;
        }
        let which = rng.usize(..PROBES.len());
        row.count("mutants", 1);
        let wasm = if rng.u8(..4) == 0 {
            byte_mutant(probe(PROBES[which]), &mut rng)
        } else {
            let whole = shell.replace(";; PROBE", &text_mutant(&texts[which], &mut rng));
            let Ok(wasm) = wat::parse_str(whole) else { continue };
            row.count("assembled", 1);
            wasm
        };
        let artefact = match host.compile(&wasm) {
            Ok(artefact) => artefact,
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                continue;
            }
        };
        row.count("compiled", 1);
        let plugin = host.load(name("mutant"), Digest([0; 32]), &artefact).unwrap();
        let settings = BindingSettings {
            config: "{\"limit\":2}".to_owned(),
            emit: vec![topic("notices")],
            limits,
        };
        let Ok(mut stage) = plugin.stage(settings) else { continue };
        row.count("started", 1);
        let batch = BatchContext {
            now: Timestamp(1_000),
            topic: topic("bookings"),
            partition: PartitionId(0),
            publisher: Principal::parse("tester").unwrap(),
        };
        stage.begin(&batch, Arc::new(Nothing));
        for index in 0..4 {
            let deed = [&b"cjri"[..], b"\x01a\0aaaaa\x05a\0aaaaa"][rng.usize(..2)];
            let event = Event {
                key: Some("notices".into()),
                value: Some(deed[rng.usize(..deed.len())..].to_vec().into()),
                timestamp: Timestamp(u64::from(index)),
                headers: Vec::new(),
            };
            let at = EventContext { index, offset_hint: 0, may_emit: true };
            match stage.judge(&event.as_record(), at) {
                Ok(_) => row.count("judged", 1),
                Err(fault) => {
                    assert!(!fault.detail.contains('\n'), "{fault}");
                    row.count("faults", 1);
                }
            }
            stage.keep(&mut Vec::new());
        }
        stage.finish();
    }
    row.passed();
}
