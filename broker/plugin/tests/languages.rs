//! One rule in every language: daily-limit in C, JavaScript, TypeScript, Python and Go says, does
//! and keeps what the one in Rust does, on real events and on the edges, in the broker's own host.
//!
//! Judged are the committed components, and what `cargo xtask languages` built afresh on a machine
//! that has the toolchains (`target/guests/`). A component that is too large to be committed
//! (Python's) is judged only then; the test says aloud what it judged.
#![allow(clippy::print_stdout, reason = "it says which components it judged")]

mod rig;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rig::*;
use sha2::{Digest as _, Sha256};
use weir_plugin_host::{ArtefactCache, BindError, BindingSettings, Plugin, StageVerdict};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PluginName, Timestamp, TopicName};
use weir_wire::record_batch::Event;

/// What speaks for the others.
const REFERENCE: &str = "rust";

/// QuickJS has no integers beyond 53 bits. What lies there is judged by the others only; that it is
/// no trap is asked of all.
const EXACT_MS_MAX: u64 = 1 << 53;

/// 2013-01-01T00:00:00Z.
const NEW_YEAR: u64 = 1_356_998_400_000;
const DAY: u64 = 86_400_000;

/// Events of one batch; the rule's state goes from batch to batch.
const BATCH_EVENTS: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

struct Candidate {
    language: String,
    plugin: Plugin,
}

/// Every component of daily-limit there is: the reference first.
fn candidates() -> Vec<Candidate> {
    let root = root();
    let mut files: Vec<(String, PathBuf)> =
        vec![(REFERENCE.into(), root.join("plugins/daily-limit/daily-limit.wasm"))];
    for language in ["c", "js", "ts", "go", "python"] {
        let name = format!("daily-limit-{language}");
        let committed = root.join("plugins").join(&name).join("daily-limit.wasm");
        let rebuilt = root.join("target/guests").join(&name).with_extension("wasm");
        assert!(committed.exists() || language == "python", "{} is missing", committed.display());
        let is_current = match (std::fs::read(&committed), std::fs::read(&rebuilt)) {
            (Ok(committed), Ok(rebuilt)) => committed == rebuilt,
            _ => false,
        };
        if committed.exists() {
            files.push((language.into(), committed));
        }
        if rebuilt.exists() && !is_current {
            files.push((format!("{language}, rebuilt"), rebuilt));
        }
    }
    files.into_iter().map(|(language, file)| Candidate::load(language, &file)).collect()
}

impl Candidate {
    /// Compiled once for all runs: Python's takes 10 s.
    fn load(language: String, file: &Path) -> Self {
        let wasm = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let digest = Digest(Sha256::digest(&wasm).into());
        let cache = ArtefactCache::open(root().join("target/guests/compiled")).expect("a cache");
        let artefact = cache
            .get_or_compile(host(), &digest, &wasm)
            .unwrap_or_else(|e| panic!("{language}: {e}"));
        let name = PluginName::parse("daily-limit").expect("a name");
        let plugin = host().load(name, digest, &artefact).expect("compiled here");
        Self { language, plugin }
    }

    /// With a binding's default limits, which have to do for every language.
    fn settings(config: &str) -> BindingSettings {
        let emit = vec![TopicName::parse("notices").expect("a name")];
        BindingSettings { config: config.to_owned(), emit, limits: Limits::default() }
    }

    /// With what the READMEs of daily-limit-js and -ts say for keys of more than 250 bytes.
    fn settings_for_long_keys(&self, config: &str) -> BindingSettings {
        let mut settings = Self::settings(config);
        if self.is_script() {
            settings.limits.fuel = 200_000_000;
            settings.limits.deadline_ms = 1_000;
        }
        settings
    }

    /// Whether it runs in QuickJS: an interpreter with floats for numbers.
    fn is_script(&self) -> bool {
        self.language.starts_with("js") || self.language.starts_with("ts")
    }

    /// All that can be seen of the rule, a line each: verdicts, notices, changes.
    fn transcript(&self, config: &str, batches: &[(u64, Vec<Event>)]) -> String {
        self.transcript_within(Self::settings(config), batches)
    }

    fn transcript_within(
        &self,
        settings: BindingSettings,
        batches: &[(u64, Vec<Event>)],
    ) -> String {
        let config = settings.config.clone();
        let mut stage = self
            .plugin
            .stage(settings)
            .unwrap_or_else(|error| panic!("{} does not take {config}: {error}", self.language));
        let mut base = Base::default();
        let mut said = String::new();
        for (now, events) in batches {
            let outcome = judge_all(&mut stage, &base, *now, events);
            for verdict in &outcome.verdicts {
                let _ = match verdict {
                    Ok(StageVerdict::Reject(no)) => {
                        writeln!(said, "{} {:?} {:?}", no.code, no.message, no.retry_after_ms)
                    }
                    other => writeln!(said, "{other:?}"),
                };
            }
            let _ = writeln!(said, "notices {:?}", outcome.side_events);
            // The order of changes is no effect.
            let changes: BTreeMap<_, _> =
                outcome.changes.iter().map(|change| (&change.key, &change.value)).collect();
            let _ = writeln!(said, "changes {changes:?}");
            base.fold(outcome.changes);
        }
        said
    }

    /// What becomes of a binding with this config.
    fn answer_to(&self, config: &str) -> String {
        match self.plugin.stage(Self::settings(config)) {
            Ok(_) => "bound".into(),
            Err(BindError::Refused(words)) => words,
            Err(other) => format!("not refused but failed: {other}"),
        }
    }
}

/// Holds everyone to what the reference says, line by line.
fn agree(candidates: &[Candidate], name: &str, said: impl Fn(&Candidate) -> String) {
    let expected = said(&candidates[0]);
    for candidate in &candidates[1..] {
        let other = said(candidate);
        let differing =
            expected.lines().zip(other.lines()).position(|(ours, theirs)| ours != theirs);
        if let Some(line) = differing {
            let (ours, theirs) = (expected.lines().nth(line), other.lines().nth(line));
            panic!(
                "{name}: {} differs in line {}:\n  {REFERENCE}: {}\n  {}: {}",
                candidate.language,
                line + 1,
                ours.unwrap_or_default(),
                candidate.language,
                theirs.unwrap_or_default(),
            );
        }
        assert_eq!(
            expected.lines().count(),
            other.lines().count(),
            "{name}: {}",
            candidate.language
        );
    }
}

/// An event with whatever key and value.
fn any(key: Option<&[u8]>, value: impl Into<Bytes>, timestamp: u64) -> Event {
    Event {
        timestamp: Timestamp(timestamp),
        key: key.map(Bytes::copy_from_slice),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

/// The sample's departures, as `weir publish --key /tailnum --timestamp /time` sends them.
fn flights() -> Vec<(u64, Vec<Event>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/flights-10k.jsonl");
    let sample = std::fs::read_to_string(file).expect("the sample");
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(r#""{name}":""#))?;
        Some(rest.split_once('"').expect("a string ends").0.to_owned())
    };
    let events: Vec<Event> = sample
        .lines()
        .map(|line| {
            let time = field(line, "time").expect("every line has a time");
            let key = field(line, "tailnum");
            any(key.as_deref().map(str::as_bytes), line.to_owned(), millis(&time))
        })
        .collect();
    (0..)
        .zip(events.chunks(BATCH_EVENTS))
        .map(|(i, events)| (NEW_YEAR + i, events.to_vec()))
        .collect()
}

/// `2013-01-01T10:00:00Z` in milliseconds since the epoch; the sample knows no other form.
fn millis(text: &str) -> u64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().expect("a number");
    let days = [0, 31][number(5..7) as usize - 1] + number(8..10) - 1;
    NEW_YEAR + days * DAY + 1000 * (number(11..13) * 3600 + number(14..16) * 60 + number(17..19))
}

/// Each event twice and more: admitted, over its limit, over it again.
fn thrice(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    events.into_iter().flat_map(|event| [event.clone(), event.clone(), event]).collect()
}

#[test]
fn daily_limit_is_one_rule_in_every_language() {
    let candidates = candidates();
    let languages: Vec<&str> = candidates.iter().map(|c| c.language.as_str()).collect();
    println!("judged: {}", languages.join("; "));
    for missing in ["python"].iter().filter(|l| !languages.iter().any(|is| is.starts_with(**l))) {
        println!("NOT judged: {missing}; `cargo xtask languages` builds it where its tools are");
    }

    agree(&candidates, "flights by key", |candidate| {
        let config = r#"{"limit":2,"key":"event","time":"event","notice":"notices"}"#;
        candidate.transcript(config, &flights())
    });
    agree(&candidates, "flights by pointer", |candidate| {
        candidate.transcript(r#"{"limit":3,"key":"/tailnum"}"#, &flights()[..2])
    });
    let few = |events: Vec<Event>| vec![(NEW_YEAR + 12_345, events)];
    agree(&candidates, "keys", |candidate| {
        let events = few(thrice(keys().iter().map(|key| any(Some(key), "", 7))));
        let config = r#"{"limit":1,"notice":"notices"}"#;
        candidate.transcript_within(candidate.settings_for_long_keys(config), &events)
    });
    agree(&candidates, "values", |candidate| {
        let events = few(thrice(values().into_iter().map(|value| any(Some(b"k"), value, 7))));
        ["/id", "/", "/a~1b/0", "/a/01", "/~01", "/é/\u{1f600}", "/id/x"]
            .map(|pointer| {
                let config = format!(r#"{{"limit":1,"key":"{pointer}","notice":"notices"}}"#);
                candidate.transcript_within(candidate.settings_for_long_keys(&config), &events)
            })
            .concat()
    });
    agree(&candidates, "no key, headers, large", |candidate| {
        let mut with_headers = any(Some(b"h"), "{}", 7);
        with_headers.headers =
            vec![header("", ""), header("a", "1"), header("a", "2"), header("é", "\u{1f600}")];
        with_headers
            .headers
            .push(weir_wire::record_batch::Header { name: "none".into(), value: None });
        let mut without_value = any(Some(b"v"), "", 7);
        without_value.value = None;
        let large = any(Some(b"large"), vec![0xfe; 1_000_000], 7);
        let events = few(thrice([any(None, "", 7), with_headers, without_value, large]));
        candidate.transcript(r#"{"limit":1,"notice":"notices"}"#, &events)
    });
    agree(&candidates, "times", |candidate| {
        let times = [0, 1, DAY - 1, DAY, NEW_YEAR, NEW_YEAR + DAY - 1, 951_782_400_000];
        let late = [253_402_300_800_000, 8_640_000_000_000_000, EXACT_MS_MAX - DAY];
        let events = times.iter().chain(&late).map(|time| any(Some(b"t"), "", *time));
        let by_event = r#"{"limit":1,"time":"event","notice":"notices"}"#;
        let mut said = candidate.transcript(by_event, &few(thrice(events)));
        let by_broker = r#"{"limit":2,"time":"broker"}"#;
        let clock = [DAY - 1, DAY, DAY, 2 * DAY - 1, 2 * DAY]
            .map(|now| (now, vec![any(Some(b"t"), "", 7); 2]));
        said += &candidate.transcript(by_broker, &clock);
        said
    });
    agree(&candidates, "times beyond 53 bits", |candidate| {
        let times = [EXACT_MS_MAX + 1, i64::MAX as u64];
        let events = few(thrice(times.map(|time| any(Some(b"t"), "", time))));
        let said = |who: &Candidate| who.transcript(r#"{"limit":1,"time":"event"}"#, &events);
        assert!(!said(candidate).contains("Fault"), "{}", candidate.language);
        // Scripts say the same, with times of 53 bits in it.
        said(if candidate.is_script() { &candidates[0] } else { candidate })
    });
    agree(&candidates, "configs", |candidate| {
        configs()
            .iter()
            .map(|config| format!("{config}: {}\n", candidate.answer_to(config)))
            .collect()
    });
    for candidate in &candidates {
        for config in NOT_JSON {
            let words = candidate.answer_to(config);
            let shown = format!("{} says of {config:?}: {words}", candidate.language);
            assert!(words.starts_with("the config is not JSON"), "{shown}");
            assert!(words.ends_with(r#"write at least {"limit":10}"#), "{shown}");
        }
    }
}

/// Collectors run, leaks add up, instances are replaced: none of that may be heard by a publisher.
/// `WEIR_EVENTS=200000` makes it a long one.
#[test]
fn a_long_life_leaves_every_language_at_work() {
    let events: usize =
        std::env::var("WEIR_EVENTS").map_or(20_000, |count| count.parse().expect("a number"));
    let value = "x".repeat(200);
    for candidate in &candidates() {
        let config = r#"{"limit":1000000,"notice":"notices"}"#;
        let mut stage = candidate.plugin.stage(Candidate::settings(config)).expect("takes it");
        let mut base = Base::default();
        for batch in 0..events / BATCH_EVENTS {
            let batch_events: Vec<Event> = (0..BATCH_EVENTS)
                .map(|i| {
                    let key = format!("key-{}", (batch * 7 + i) % 1000);
                    any(Some(key.as_bytes()), value.clone(), 7)
                })
                .collect();
            let outcome = judge_all(&mut stage, &base, NEW_YEAR, &batch_events);
            assert_eq!(outcome.signs(), "+".repeat(BATCH_EVENTS), "{}", candidate.language);
            base.fold(outcome.changes);
        }
        let counters = stage.counters();
        println!(
            "{}: {} instances, {} bytes of memory after {events} events",
            candidate.language, counters.instances, counters.memory_bytes
        );
        // Recycling is for what leaks, and rare there.
        assert!(counters.instances <= 1 + events as u64 / 20_000, "{}", candidate.language);
    }
}

/// The project of `weir plugin new` in each language that `cargo xtask languages` could build.
#[test]
fn the_templates_are_one_rule_in_every_language() {
    let built: Vec<Candidate> = ["rust", "c", "js", "ts", "go", "python"]
        .iter()
        .map(|language| (language, root().join(format!("target/guests/template-{language}.wasm"))))
        .filter(|(_, file)| file.exists())
        .map(|(language, file)| Candidate::load((*language).into(), &file))
        .collect();
    let languages: Vec<&str> = built.iter().map(|c| c.language.as_str()).collect();
    println!("templates judged: {}", languages.join("; "));
    let sample = std::fs::read_to_string(root().join("plugins/templates/events.jsonl"));
    let events: Vec<Event> = sample
        .expect("the sample of the templates")
        .lines()
        .map(|line| {
            let user = line.split_once(r#""user":""#).and_then(|(_, rest)| rest.split_once('"'));
            any(user.map(|(user, _)| user.as_bytes()), line.to_owned(), 7)
        })
        .collect();
    for candidate in &built {
        let batches = [(NEW_YEAR, events.clone()), (NEW_YEAR + 60_000, events[..1].to_vec())];
        let said = candidate.transcript("3", &batches);
        let verdicts: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("notices ") && !line.starts_with("changes "))
            .collect();
        let expected = [
            "Ok(Accept)",
            "Ok(Accept)",
            "Ok(Accept)",
            "Ok(Accept)",
            r#"too-many "That was more than 3; be quiet for a minute." Some(60000)"#,
            r#"no-key "Publish with a key: each has its own limit." None"#,
            "Ok(Accept)",
            "Ok(Accept)",
        ];
        assert_eq!(verdicts, expected, "{}", candidate.language);
        for config in ["", "0", "-1", "3.5", "null", "three"] {
            let words = candidate.answer_to(config);
            assert_eq!(
                words, "write how often a key may pass, as 3",
                "{config}: {}",
                candidate.language
            );
        }
    }
}

/// Keys that are easy to get wrong: broken and rare UTF-8, control characters, every border of length.
fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> =
        ["", "ann", "é", "日本語", "\u{1f600}", "\u{2028}\u{2029}\u{85}\u{ad}\u{feff}"]
            .map(|key| key.as_bytes().to_vec())
            .into();
    keys.extend([
        b"\0\x01\x08\t\n\x0b\x0c\r\x1b\x1f\x7f\"\\/".to_vec(),
        vec![0xff, b'a', 0xfe],
        vec![0xc3],
        vec![0xc0, 0x80, 0xc1, 0xbf],
        vec![0xe2, 0x82, b'x', 0xe2, 0x82],
        vec![0xed, 0xa0, 0x80, 0xed, 0x9f, 0xbf],
        vec![
            0xf0, 0x9f, 0x98, 0xf0, 0x80, 0x80, 0x80, 0xf4, 0x90, 0x80, 0x80, 0xf4, 0x8f, 0xbf,
            0xbf,
        ],
        vec![0xe0, 0x80, 0xe0, 0xa0, 0xf0, 0x90, 0x80, 0xf8, 0x88],
        (0..=255).collect(),
        (0..=255).rev().collect(),
    ]);
    for len in [48, 49, 127, 128, 129, 4095, 4096, 4097, 70_000] {
        keys.push(vec![b'x'; len]);
        keys.push("ä".repeat(len / 2).into_bytes());
    }
    keys.push("\u{10ffff}".repeat(1024).into_bytes());
    keys.push(vec![0x01; 4096]);
    keys
}

/// Values: JSON of every kind at the pointer, and what almost is JSON.
fn values() -> Vec<Bytes> {
    let deep = |depth: usize, inner: &str| {
        format!(r#"{{"id":"deep","x":{}{inner}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    let mut values: Vec<Bytes> = [
        "",
        " ",
        "null",
        "1",
        "\"id\"",
        "[]",
        "{}",
        "[1,2]",
        r#"{"id":"ann"}"#,
        r#" { "id" : "ann" } "#,
        "\t{\n\"id\"\r:\"ann\"}\n",
        "\u{a0}{\"id\":\"ann\"}",
        "\u{feff}{\"id\":\"ann\"}",
        "{\"id\":\"ann\"}\u{b}",
        r#"{"id":""}"#,
        r#"{"id":null}"#,
        r#"{"id":true}"#,
        r#"{"id":false}"#,
        r#"{"id":{}}"#,
        r#"{"id":[]}"#,
        r#"{"id":0}"#,
        r#"{"id":-7}"#,
        r#"{"id":9007199254740993}"#,
        r#"{"id":18446744073709551615}"#,
        r#"{"id":01}"#,
        r#"{"id":+1}"#,
        r#"{"id":.5}"#,
        r#"{"id":1.}"#,
        r#"{"id":1e}"#,
        r#"{"id":-}"#,
        r#"{"id":0x1}"#,
        r#"{"id":1_000}"#,
        r#"{"id":NaN}"#,
        r#"{"id":Infinity}"#,
        r#"{"id":-Infinity}"#,
        r#"{"id":nul}"#,
        r#"{"id":True}"#,
        r#"{"id":"a","id":"b"}"#,
        r#"{"id":{"x":"in"},"id":"b"}"#,
        r#"{"id":"a","id":{"x":7}}"#,
        r#"{"id":"a",}"#,
        r#"{"id":"a"}}"#,
        r#"{"id":"a""#,
        r#"{"id":"a"#,
        r#"{"id":'a'}"#,
        r#"{id:"a"}"#,
        r#"{"id" "a"}"#,
        r#"{"id":"a"} x"#,
        r#"{"id":"a"}{"id":"b"}"#,
        r#"{"id":"a",//c
        "x":1}"#,
        r#"[1,]"#,
        r#"[,1]"#,
        r#"{"x":[1 2],"id":"a"}"#,
        r#"{"id":"\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac"}"#,
        r#"{"id":"\ud83d\ude00"}"#,
        r#"{"id":"\uD83D\uDE00\u0000x"}"#,
        r#"{"id":"\ud83d"}"#,
        r#"{"id":"\ude00"}"#,
        r#"{"id":"\ud83dx"}"#,
        r#"{"id":"\ud83d\ud83d"}"#,
        r#"{"id":"\ude00\ud83d"}"#,
        r#"{"id":"ann","x":"\ud83d"}"#,
        r#"{"id":"ann","\udc00":1}"#,
        r#"{"id":"\\ud83d"}"#,
        r#"{"id":"\\\ud83d"}"#,
        r#"{"id":"\x41"}"#,
        r#"{"id":"\u12"}"#,
        r#"{"id":"\u12g4"}"#,
        r#"{"id":"\u+123"}"#,
        r#"{"id":"\'"}"#,
        r#"{"id":"\"#,
        r#"{"\u0069d":"escaped name"}"#,
        r#"{"i\u0064":"a","id":"b"}"#,
        "{\"id\":\"tab\there\"}",
        "{\"id\":\"nul\0\"}",
        "{\"id\":\"\u{7f}\u{80}\"}",
        "{\"id\":\"line\nend\"}",
        r#"{"":"empty name"}"#,
        r#"{"a/b":["zero","one"]}"#,
        r#"{"a/b":{"0":"a name"}}"#,
        r#"{"a":["x","y"]}"#,
        r#"{"a":{"01":"01"}}"#,
        r#"{"~1":"tilde one"}"#,
        r#"{"~01":"no"}"#,
        "{\"é\":{\"\u{1f600}\":\"smile\"}}",
        r#"{"\u00e9":{"\ud83d\ude00":"smile"}}"#,
        r#"{"id":{"x":3}}"#,
        r#"{"id":["x"]}"#,
        r#"{"__proto__":{"id":1},"id":"own"}"#,
        r#"{"toString":1}"#,
        r#"{"constructor":{"id":"x"}}"#,
    ]
    .map(|value| Bytes::copy_from_slice(value.as_bytes()))
    .into();
    values.extend(
        [deep(125, ""), deep(126, ""), deep(127, ""), deep(128, ""), deep(2_000, "")]
            .map(Bytes::from),
    );
    values.push(Bytes::from("[".repeat(20_000)));
    // Brackets inside of strings are not depth.
    values.push(Bytes::from(format!(r#"{{"x":"{}","id":"flat"}}"#, r#"[{\"["#.repeat(300))));
    values.push(Bytes::from(format!(r#"{{"id":"{}"}}"#, "x".repeat(4096))));
    values.push(Bytes::from(format!(r#"{{"id":"{}"}}"#, "x".repeat(4097))));
    values.push(Bytes::from(format!(r#"{{"id":"{}"}}"#, r"\u00e9".repeat(2049))));
    values.push(Bytes::from(format!(r#"{{"pad":"{}","id":"late"}}"#, "y".repeat(60_000))));
    values.push(Bytes::from_static(b"{\"id\":\"\xff\"}"));
    values.push(Bytes::from_static(b"{\"id\":\"ann\",\"x\":\"\xed\xa0\x80\"}"));
    values.push(Bytes::from_static(b"{\"id\":\"ann\"}\xc3"));
    values.push(Bytes::from_static(b"\0"));
    values.push(Bytes::from_static(b"{\"id\":\"ann\"}\0"));
    values
}

/// What has to be refused, or taken, in the same words.
fn configs() -> Vec<String> {
    let mut configs: Vec<String> = [
        "null",
        "[10]",
        "10",
        "\"limit\"",
        "true",
        "{}",
        r#"{"limit":0}"#,
        r#"{"limit":-1}"#,
        r#"{"limit":1.5}"#,
        r#"{"limit":1.0}"#,
        r#"{"limit":1e3}"#,
        r#"{"limit":"10"}"#,
        r#"{"limit":null}"#,
        r#"{"limit":[1]}"#,
        r#"{"limit":9223372036854775807}"#,
        r#"{"limit":9223372036854775808}"#,
        r#"{"limit":1000000000000}"#,
        r#"{"limit":1000000000001}"#,
        r#"{"limit":99999999999999999999999}"#,
        r#"{"limit":-0}"#,
        r#"{"limit":1}"#,
        r#"{"limit":1,"limit":0}"#,
        r#"{"limit":0,"limit":1}"#,
        r#"{"limit":1,"key":"event"}"#,
        r#"{"limit":1,"key":"ev\u0065nt"}"#,
        r#"{"limit":1,"key":"tailnum"}"#,
        r#"{"limit":1,"key":""}"#,
        r#"{"limit":1,"key":"/"}"#,
        r#"{"limit":1,"key":"/a~b"}"#,
        r#"{"limit":1,"key":"/a~"}"#,
        r#"{"limit":1,"key":"/a~0~1"}"#,
        r#"{"limit":1,"key":"/a\nb"}"#,
        r#"{"limit":1,"key":"/a\n"}"#,
        r#"{"limit":1,"key":["/a"]}"#,
        r#"{"limit":1,"key":null}"#,
        r#"{"limit":1,"key":1}"#,
        r#"{"limit":1,"key":"/é"}"#,
        r#"{"limit":1,"time":"utc"}"#,
        r#"{"limit":1,"time":"broker"}"#,
        r#"{"limit":1,"time":"event"}"#,
        r#"{"limit":1,"time":null}"#,
        r#"{"limit":1,"time":1}"#,
        r#"{"limit":1,"notice":""}"#,
        r#"{"limit":1,"notice":true}"#,
        r#"{"limit":1,"notice":null}"#,
        r#"{"limit":1,"notice":7}"#,
        r#"{"limit":1,"notice":"n"}"#,
        r#"{"limit":1,"Notice":"n"}"#,
        r#"{"b":1,"a":1,"limit":1}"#,
        r#"{"é":1,"\u007f":1}"#,
        r#"{"":1,"limit":1}"#,
        r#"{"ab":1,"a":1}"#,
        "{\"\u{ffff}\":1,\"\u{10000}\":1}",
    ]
    .map(String::from)
    .into();
    for len in [255, 256, 257, 300] {
        configs.push(format!(r#"{{"limit":1,"key":"/{}"}}"#, "p".repeat(len - 1)));
    }
    configs.push(format!(r#"{{"limit":1,"key":"/{}x"}}"#, "é".repeat(127)));
    configs.push(format!(r#"{{"limit":1,"key":"/{}xx"}}"#, "é".repeat(127)));
    configs
}

/// Here the parser's own words stand in the middle of the sentence.
const NOT_JSON: [&str; 6] = [
    "",
    "{",
    r#"{"limit":10,}"#,
    r#"{"limit":010}"#,
    r#"{"limit":10} x"#,
    r#"{"limit":10,"key":"\ud800"}"#,
];
