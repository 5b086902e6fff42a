//! `weir plugin test`: what it prints is what a broker does, it is the same in every run, it is a
//! test with `--expect`, and what is wrong is one sentence.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::broker::{Broker, Output, program};
use weir_tests::{flights, rule};

const DAILY: &str = r#"{"limit":2,"key":"event","time":"event","notice":"notices"}"#;

/// `weir plugin test` in a folder, no broker anywhere.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn test(&self, component: &Path, more: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(["plugin", "test"]).arg(component).args(more).current_dir(self.0.path());
        // No broker is to be found, and none is looked for.
        command.env("WEIR_CONTEXT", "/nowhere/client.toml");
        Output::of(&mut command)
    }

    fn done(&self, component: &Path, more: &[&str]) -> Output {
        let told = self.test(component, more);
        assert!(told.status.success(), "{more:?}: {told:?}");
        told
    }
}

fn probe(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/probes");
    Path::new(folder).join(name).with_extension("wasm")
}

/// The flags with which `weir publish` reads the flights.
const FLIGHTS: [&str; 4] = ["--key", "/tailnum", "--timestamp", "/time"];

#[test]
fn the_bench_and_a_broker_say_the_same() {
    let lines = flights::lines();
    let broker = Broker::start();
    for topic in ["flights", "notices"] {
        broker.done(["topic", "create", topic]);
    }
    let daily_limit = flights::daily_limit();
    broker.done(["plugin", "push", "daily-limit", daily_limit.to_str().unwrap()]);
    broker.done(["plugin", "bind", "flights", "daily-limit", "--config", DAILY]);
    let flights = flights::path();
    let input = flights.to_str().unwrap();
    broker.done(
        [&["publish", "flights", "--input", input, "--rejected", "refused"][..], &FLIGHTS].concat(),
    );
    let refused = fs::read_to_string(broker.folder().join("refused")).unwrap();
    let published: BTreeMap<u64, (String, String)> = refused
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let of = |name: &str| line[name].as_str().unwrap().to_owned();
            (line["line"].as_u64().unwrap(), (of("code"), of("message")))
        })
        .collect();
    let notices = broker.done(["consume", "notices", "--until-end"]).json_lines();

    let bench = Bench::new();
    let flags = [
        "--input",
        input,
        "--config",
        DAILY,
        "--json",
        "--topic",
        "flights",
        "--state-out",
        "state",
    ];
    let told = bench.done(&daily_limit, &[&flags[..], &FLIGHTS].concat()).json_lines();
    let (summary, reports) = told.split_last().unwrap();
    let tested: BTreeMap<u64, (String, String)> = reports
        .iter()
        .filter(|report| report["verdict"] != "accept")
        .map(|report| {
            assert_eq!(report["verdict"], "reject", "{report}");
            let of = |name: &str| report[name].as_str().unwrap().to_owned();
            (report["line"].as_u64().unwrap(), (of("code"), of("message")))
        })
        .collect();
    assert_eq!(tested, published);
    let emitted: Vec<&Value> =
        reports.iter().flat_map(|report| report["emitted"].as_array().unwrap()).collect();
    assert_eq!(emitted.len(), notices.len());
    for (emitted, notice) in emitted.iter().zip(&notices) {
        assert_eq!(emitted["topic"], "notices");
        for field in ["key", "value", "timestamp"] {
            assert_eq!(emitted["event"][field], notice[field], "{field}");
        }
    }
    let expected = rule::daily_limit(&lines, 2);
    let summary = &summary["summary"];
    assert_eq!(summary["events"], lines.len());
    assert_eq!(summary["verdicts"]["accept"], expected.accepted_count());
    assert_eq!(summary["codes"]["daily-limit"], expected.refused_count("daily-limit"));
    assert_eq!(summary["side_events"], expected.over.len());
    for spread in ["fuel", "ns"] {
        let [median, p99, max] =
            ["median", "p99", "max"].map(|of| summary[spread][of].as_u64().unwrap());
        assert!(0 < median && median <= p99 && p99 <= max, "{spread}: {summary}");
    }
    assert!(summary["fuel"]["max"].as_u64() < summary["fuel_limit"].as_u64());
    assert_eq!(summary["state_keys"]["used"], bench.text("state").lines().count());
}

#[test]
fn the_same_files_print_the_same_in_batches_of_any_size() {
    let bench = Bench::new();
    let daily_limit = flights::daily_limit();
    bench.file("flights.jsonl", flights::lines()[..300].join("\n"));
    let run = |more: &[&str]| {
        let flags = ["--input", "flights.jsonl", "--config", DAILY, "--no-times"];
        bench.done(&daily_limit, &[&flags[..], &FLIGHTS, more].concat()).stdout
    };
    assert_eq!(run(&[]), run(&[]));
    assert_eq!(run(&["--json"]), run(&["--json"]));
    // A batch shares one partition time, and daily-limit counts by the events' own.
    let verdicts = |text: String| -> Vec<[Value; 4]> {
        let reports = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let reports = reports.filter(|line| line.get("line").is_some());
        reports
            .map(|line| ["line", "verdict", "code", "emitted"].map(|of| line[of].clone()))
            .collect()
    };
    let one = verdicts(run(&["--json"]));
    assert_eq!(one.len(), 300);
    for batch in ["7", "300", "10000"] {
        assert_eq!(verdicts(run(&["--json", "--batch", batch])), one, "--batch {batch}");
    }
}

#[test]
fn effects_are_those_that_stand() {
    let bench = Bench::new();
    // trap-third counts each event under "n" and traps where the timestamp is divisible by 3.
    let events: String = (1..=4)
        .map(|time| format!("{{\"timestamp\":{time},\"key\":\"k\",\"value\":\"v\"}}\n"))
        .collect();
    bench.file("events.jsonl", events);
    let lines = |more: &[&str]| {
        let flags = ["--input", "events.jsonl", "--events", "--json"];
        bench.done(&probe("trap-third"), &[&flags[..], more].concat()).json_lines()
    };
    let short = |reports: &[Value]| -> Vec<String> {
        let of = |report: &Value| {
            format!("{} {} {}", report["verdict"], report["code"], report["state"])
        };
        reports.iter().take(4).map(of).collect()
    };
    let count = |n: u64| format!(r#"[{{"key":"n","value":{{"counter":{n}}}}}]"#);
    let accepted = |n: u64| format!(r#""accept" null {}"#, count(n));
    let closed = lines(&[]);
    assert_eq!(
        short(&closed),
        [accepted(1), accepted(2), r#""fault" "plugin-trap" []"#.to_owned(), accepted(3)]
    );
    assert_eq!(closed[2]["retry_after_ms"], 1000);
    assert_eq!(closed[4]["summary"]["instances"], 2, "a fresh one after the trap");
    let open = lines(&["--on-failure", "open"]);
    assert_eq!(short(&open)[2], r#""passed-open" "plugin-trap" []"#);
    assert_eq!(
        open[2]["event"]["headers"],
        json!([{ "name": "weir-passed-open", "value": "trap-third" }])
    );
    // The same effects for each event when all are one batch.
    assert_eq!(short(&lines(&["--batch", "4"])), short(&closed));
    let replaced = bench
        .done(&probe("replace"), &["--input", "events.jsonl", "--events", "--json"])
        .json_lines();
    assert_eq!(
        (&replaced[0]["verdict"], &replaced[0]["event"]["value"]),
        (&json!("replace"), &json!("new"))
    );
    let said = bench.done(&probe("log-flood"), &["--input", "events.jsonl", "--events", "--json"]);
    let said = said.json_lines();
    assert_eq!(said[0]["log"][0], json!({ "level": "info", "line": "0123456789abcdef" }));
    assert_ne!(said[4]["summary"]["log_bytes_cut"], 0, "{}", said[4]);
}

#[test]
fn limits_and_the_breaker_are_the_brokers() {
    let bench = Bench::new();
    bench.file("seven.jsonl", "{}\n".repeat(7));
    let codes = |more: &[&str]| -> Vec<String> {
        let flags = ["--input", "seven.jsonl", "--json"];
        let told = bench.done(&probe("spin"), &[&flags[..], more].concat()).json_lines();
        told[..7].iter().map(|report| report["code"].as_str().unwrap().to_owned()).collect()
    };
    let told = codes(&[]);
    assert_eq!(told[..5], ["plugin-timeout"; 5]);
    assert_eq!(told[5..], ["plugin-breaker-open"; 2], "time stands still, so it stays open");
    let told =
        bench.done(&probe("spin"), &["--input", "seven.jsonl", "--json", "--limit", "fuel=1000"]);
    assert_eq!(told.json_lines()[0]["fuel"], 1000);
    let told = bench.done(
        &probe("state-flood"),
        &["--input", "seven.jsonl", "--json", "--now", "65", "--limit", "state_changes=64"],
    );
    assert_eq!(told.json_lines()[0]["code"], "plugin-state-quota");
}

#[test]
fn state_goes_in_and_comes_out() {
    let bench = Bench::new();
    bench.file("a.jsonl", "{\"k\":\"a\"}\n".repeat(2));
    let run = |more: &[&str]| {
        let flags = ["--input", "a.jsonl", "--key", "/k", "--config", r#"{"limit":3}"#, "--json"];
        let told = bench.done(&probe("counter"), &[&flags[..], more].concat()).json_lines();
        told[..2].iter().map(|report| report["verdict"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(run(&["--state-out", "s1"]), ["accept", "accept"]);
    assert_eq!(run(&["--state", "s1", "--state-out", "s2"]), ["accept", "reject"]);
    // A day later everything is forgotten.
    let later = ["--state", "s2", "--now", "2026-01-02T00:00:00Z"];
    assert_eq!(run(&later), ["accept", "accept"]);
    assert_eq!(
        bench.text("s1"),
        "{\"key\":\"a\",\"value\":{\"counter\":2},\"expires_at\":1767312000000}\n"
    );
}

#[test]
fn with_expectations_it_is_a_test() {
    let bench = Bench::new();
    let daily_limit = flights::daily_limit();
    // Enough that some aircraft flies twice.
    bench.file("flights.jsonl", flights::lines()[..1_000].join("\n"));
    let run = |limit: u32, more: &[&str]| {
        let config = format!(r#"{{"limit":{limit},"key":"event","time":"event"}}"#);
        let flags = ["--input", "flights.jsonl", "--config", &config, "--expect", "expected.jsonl"];
        bench.test(&daily_limit, &[&flags[..], &FLIGHTS, more].concat())
    };
    let missing = run(2, &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stderr.contains("--update writes it"), "{missing:?}");
    assert!(run(2, &["--update"]).status.success());
    assert!(run(2, &[]).status.success());
    let differs = run(1, &[]);
    assert_eq!(differs.status.code(), Some(1));
    assert!(differs.stdout.contains(r#"verdict: expected "accept", got "reject""#), "{differs:?}");
    assert_eq!(differs.stderr.lines().count(), 1);
    assert!(
        differs.stderr.contains("of 1000 events are not as expected.jsonl says"),
        "{differs:?}"
    );
    bench.file("expected.jsonl", "{}\n".repeat(1_000));
    assert!(run(1, &[]).status.success(), "an empty object takes everything");
    bench.file("expected.jsonl", "{}\n".repeat(999));
    assert!(run(1, &[]).stdout.contains("line 1000: there, and not expected"));
}

#[test]
fn what_is_wrong_is_one_sentence() {
    let bench = Bench::new();
    bench.file("good.jsonl", "{\"a\":1}\n");
    bench.file("bad.jsonl", "{\"a\":1}\n{\"a\":");
    bench.file("text.wasm", "no component");
    bench.file("whole.jsonl", "{\"timestamp\":\"noon\"}\n");
    bench.file("state.jsonl", "{\"key\":\"a\"}\n");
    let accept = probe("accept");
    for (what, component, more, parts) in [
        ("no component", "none.wasm".as_ref(), &["--input", "good.jsonl"][..], &["none.wasm"][..]),
        ("text", "text.wasm".as_ref(), &["--input", "good.jsonl"], &["text.wasm", "component"]),
        ("no input", &*accept, &["--input", "none.jsonl"], &["none.jsonl"]),
        ("a bad line", &*accept, &["--input", "bad.jsonl"], &["line 2", "nothing was judged"]),
        (
            "no event",
            &*accept,
            &["--input", "whole.jsonl", "--events"],
            &["line 1", "timestamp", "nothing was judged"],
        ),
        ("no key", &*accept, &["--input", "good.jsonl", "--key", "/b"], &["/b", "/a"]),
        ("a config", &probe("counter"), &["--input", "good.jsonl"], &["refuses", "give a limit"]),
        ("no JSON", &*accept, &["--input", "good.jsonl", "--config", "{"], &["JSON"]),
        ("a limit", &*accept, &["--input", "good.jsonl", "--limit", "fuel=0"], &["fuel"]),
        ("state", &*accept, &["--input", "good.jsonl", "--state", "state.jsonl"], &["value"]),
        ("a time", &*accept, &["--input", "good.jsonl", "--now", "noon"], &["noon", "RFC 3339"]),
        ("update", &*accept, &["--input", "good.jsonl", "--update"], &["--expect"]),
    ] {
        let told = bench.test(component, more);
        assert!(!told.status.success(), "{what}: {told:?}");
        assert_eq!(told.stderr.lines().count(), 1, "{what}: {told:?}");
        assert!(told.stdout.is_empty(), "{what}: {told:?}");
        for part in parts {
            assert!(told.stderr.contains(part), "{what}: {part:?} is not in {told:?}");
        }
    }
}
