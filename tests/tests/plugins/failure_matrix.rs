//! R25: every way a plugin can fail, under both failure policies, on one event, in the middle of a
//! batch and on all of it: 78 cells as data. What the publisher hears, what is stored and with which
//! header, what is counted, that nothing of the failed event stands, and that a fresh instance judges
//! the next event as if nothing had been.

use std::fs;

use serde_json::json;
use weir_client::{AdminError, Event};
use weir_tests::bed::{Bed, marked, probe, topics, word};
use weir_tests::torture::Row;
use weir_wire::admin::{BindingSpec, FailurePolicy, JudgedCounts, LimitChanges, Limits};
use weir_wire::ids::Digest;

/// A cause that an event brings about, while its plugin is bound.
struct Cause {
    what: &'static str,
    /// What the event tells the probe `script` to do.
    deed: &'static [u8],
    limits: LimitChanges,
    code: &'static str,
}

fn causes() -> Vec<Cause> {
    let usual = LimitChanges::default();
    let cause = |what, deed, code| Cause { what, deed, limits: usual, code };
    // So much fuel that the clock comes first.
    let limits = LimitChanges { fuel: Some(Limits::MAX.fuel), deadline_ms: Some(20), ..usual };
    vec![
        cause("trap", b"t", "plugin-trap"),
        cause("fuel", b"f", "plugin-timeout"),
        Cause { what: "epoch", deed: b"f", limits, code: "plugin-timeout" },
        cause("memory", b"m", "plugin-memory"),
        cause("stack", b"s", "plugin-stack"),
        cause("output", b"o", "plugin-output-too-large"),
        cause("state quota", b"q", "plugin-state-quota"),
        cause("denied emit", b"e", "plugin-denied"),
        cause("host-call error", b"x", "plugin-trap"),
    ]
}

/// A cause that lies in what is stored of a plugin, and shows when the broker starts.
struct Absence {
    what: &'static str,
    /// An upload that has this fault already is refused with these words.
    upload: Vec<u8>,
    words: &'static str,
    code: &'static str,
}

fn absences() -> Vec<Absence> {
    let whole = probe("script");
    vec![
        Absence {
            what: "missing export",
            upload: probe("other-world"),
            words: "does not export \"configure\"",
            code: "plugin-missing",
        },
        Absence {
            what: "compile fails",
            upload: whole[..whole.len() / 2].to_vec(),
            words: "does not compile",
            code: "plugin-missing",
        },
        Absence {
            what: "artifact missing",
            upload: Vec::new(),
            words: "no WebAssembly component",
            code: "plugin-missing",
        },
        Absence {
            what: "instantiate fails",
            upload: probe("refuses-config"),
            words: "",
            code: "plugin-instantiate",
        },
    ]
}

const POLICIES: [FailurePolicy; 2] = [FailurePolicy::Closed, FailurePolicy::Open];
/// Which events of a batch are to fail.
const SHAPES: [&[bool]; 3] = [&[true], &[false, true, false], &[true, true, true]];

fn topic_of(number: usize, policy: FailurePolicy) -> String {
    format!("t{number}-{}", if policy == FailurePolicy::Open { "open" } else { "closed" })
}

fn spec(policy: FailurePolicy, limits: LimitChanges) -> BindingSpec {
    BindingSpec {
        config: Some(json!(0)),
        on_failure: Some(policy),
        emit: topics(&["notices"]),
        limits: Some(limits),
        ..BindingSpec::default()
    }
}

/// What a partition should have become of the events so far.
#[derive(Debug, Default)]
struct Expected {
    /// The stored values, and whether each is stamped.
    stored: Vec<(Vec<u8>, bool)>,
    counts: JudgedCounts,
    /// Good events: what the probe counts under "n", since nothing of a failed one stands.
    good: u8,
    /// Events that the instance at work has seen.
    seen: u8,
}

impl Expected {
    /// A good event is replaced by what its instance has seen, and what it counts.
    fn judged(&mut self) -> &'static str {
        (self.good, self.seen) = (self.good + 1, self.seen + 1);
        self.stored.push((vec![b'i', b'0' + self.seen, b'0' + self.good], false));
        self.counts.accepted += 1;
        "accepted"
    }

    fn failed<'c>(&mut self, policy: FailurePolicy, deed: &[u8], code: &'c str) -> &'c str {
        self.seen = 0;
        match policy {
            FailurePolicy::Closed => {
                self.counts.faulted += 1;
                code
            }
            FailurePolicy::Open => {
                self.stored.push((deed.to_vec(), true));
                self.counts.accepted += 1;
                self.counts.passed_open += 1;
                "accepted"
            }
        }
    }
}

async fn check(bed: &Bed, topic: &str, expected: &Expected, what: &str) {
    let stamped = |event: &Event| {
        event.headers.iter().any(|header| {
            header.name == "weir-passed-open"
                && header.value.as_deref().is_some_and(|name| name.starts_with(b"script"))
        })
    };
    let stored = bed.stored(topic).await;
    let stored: Vec<(Vec<u8>, bool)> = stored
        .iter()
        .map(|event| (event.value.as_deref().unwrap_or_default().to_vec(), stamped(event)))
        .collect();
    assert_eq!(stored, expected.stored, "{what}: what is stored, and with which stamp");
    assert_eq!(bed.counts(topic).await, expected.counts, "{what}: the counters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_under_each_policy_wherever_it_falls() {
    let mut row = Row::begin("R25", "failure matrix");
    let mut bed = Bed::start().await;
    bed.topic("notices").await;
    bed.topic("quiet").await;
    bed.push("script", probe("script")).await.unwrap();
    for (number, cause) in causes().iter().enumerate() {
        for policy in POLICIES {
            let topic = topic_of(number, policy);
            bed.topic(&topic).await;
            bed.bind(&topic, "script", spec(policy, cause.limits)).await.unwrap();
            let mut expected = Expected::default();
            for shape in SHAPES {
                let what = format!("{} {policy:?} {shape:?}", cause.what);
                let values: Vec<&[u8]> =
                    shape.iter().map(|fails| if *fails { cause.deed } else { b"i" }).collect();
                let should: Vec<&str> = shape
                    .iter()
                    .map(|fails| match fails {
                        true => expected.failed(policy, cause.deed, cause.code),
                        false => expected.judged(),
                    })
                    .collect();
                let told = bed.publish(&topic, &values).await;
                let words: Vec<&str> = told.iter().map(|told| word(&told.verdict)).collect();
                assert_eq!(words, should, "{what}: what the publisher hears");
                for told in &told {
                    if let weir_wire::verdict::Verdict::Rejected(why) = &told.verdict {
                        assert!(why.fault && why.retry_after_ms.is_some(), "{what}: {why:?}");
                        assert!(why.message.contains("script@1"), "{what}: {why:?}");
                    }
                }
                // The next event is judged normally, by a fresh instance.
                let should = expected.judged();
                let told = bed.publish(&topic, &[b"i"]).await;
                assert_eq!(word(&told[0].verdict), should, "{what}: the next event");
                check(&bed, &topic, &expected, &what).await;
                row.count("cells", 1);
            }
        }
    }
    assert_eq!(bed.stored("notices").await.len(), 0, "what a failed event emitted never left");
    what_is_not_there(&mut bed, &mut row).await;
    row.passed();
}

/// The causes that lie in the stored plugin: refused when they are pushed or bound; and where they
/// come later, the broker starts, other topics are served, and the failure policy answers.
async fn what_is_not_there(bed: &mut Bed, row: &mut Row) {
    let mut digests: Vec<Digest> = Vec::new();
    for (number, absence) in absences().iter().enumerate() {
        let plugin = format!("script{number}");
        match bed.push("refused", absence.upload.clone()).await {
            Err(AdminError::Refused { problem, .. }) if !absence.words.is_empty() => {
                assert!(problem.message.contains(absence.words), "{}: {problem:?}", absence.what);
            }
            Ok(_) if absence.words.is_empty() => {
                let bound = bed.bind("quiet", "refused", BindingSpec::default()).await;
                let Err(AdminError::Refused { problem, .. }) = bound else {
                    panic!("{}: {bound:?}", absence.what)
                };
                assert!(problem.message.contains("never"), "{}: {problem:?}", absence.what);
            }
            pushed => panic!("{}: {pushed:?}", absence.what),
        }
        let version = bed.push(&plugin, marked(probe("script"), &plugin)).await.unwrap();
        digests.push(version.digest);
        for policy in POLICIES {
            let topic = topic_of(100 + number, policy);
            bed.topic(&topic).await;
            bed.bind(&topic, &plugin, spec(policy, LimitChanges::default())).await.unwrap();
        }
    }
    bed.broker.stop();
    damage(bed, &digests);
    bed.broker.start_again();
    let told = bed.publish("quiet", &[b"i"]).await;
    assert_eq!(word(&told[0].verdict), "accepted", "other topics are served");
    for (number, absence) in absences().iter().enumerate() {
        for policy in POLICIES {
            let topic = topic_of(100 + number, policy);
            let mut expected = Expected::default();
            for shape in SHAPES {
                let what = format!("{} {policy:?} {shape:?}", absence.what);
                let values: Vec<&[u8]> = vec![b"i"; shape.len()];
                let mut should = Vec::new();
                // No instance, no good event: a plugin that is not there fails on all of a batch.
                for _ in shape {
                    let open = expected.counts.passed_open + expected.counts.faulted;
                    let code = if open < 5 { absence.code } else { "plugin-breaker-open" };
                    should.push(expected.failed(policy, b"i", code));
                }
                let told = bed.publish(&topic, &values).await;
                for (told, should) in told.iter().zip(should) {
                    let heard = word(&told.verdict);
                    // After five in a row the breaker answers, for a second.
                    let is_right = heard == should
                        || (policy == FailurePolicy::Closed && heard == absence.code);
                    assert!(is_right, "{what}: heard {heard}, not {should}");
                }
                check(bed, &topic, &expected, &what).await;
                row.count("cells", 1);
            }
        }
    }
    mended(bed, &digests).await;
}

/// What the disk or an operator may do to the stored plugins while no broker runs.
fn damage(bed: &Bed, digests: &[Digest]) {
    let data = bed.broker.data_dir();
    let component = |digest: &Digest| data.join("components").join(format!("{digest}.wasm"));
    let artefact = |digest: &Digest| {
        let begins = digest.to_string();
        let mut entries = fs::read_dir(data.join("cache")).unwrap();
        let found = entries.find_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_string_lossy().into_owned();
            name.starts_with(&begins).then_some(path)
        });
        found.expect("it was compiled")
    };
    let [other_world, half, gone, other] = digests else { panic!("four plugins") };
    fs::write(component(other_world), probe("other-world")).unwrap();
    fs::remove_file(artefact(other_world)).unwrap();
    fs::write(component(half), &probe("script")[..100]).unwrap();
    fs::remove_file(artefact(half)).unwrap();
    fs::remove_file(component(gone)).unwrap();
    fs::remove_file(artefact(gone)).unwrap();
    // The compiled code of a plugin that takes no config stands where this one's was.
    let refuses = probe("refuses-config");
    let refuses = Digest(
        sha2::Digest::finalize(sha2::Digest::chain_update(
            <sha2::Sha256 as sha2::Digest>::new(),
            &refuses,
        ))
        .into(),
    );
    fs::copy(artefact(&refuses), artefact(other)).unwrap();
}

/// Pushed and bound again, each is as it was before.
async fn mended(bed: &mut Bed, digests: &[Digest]) {
    let cache = bed.broker.data_dir().join("cache");
    bed.broker.stop();
    for entry in fs::read_dir(cache).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (number, digest) in digests.iter().enumerate() {
        let path = bed.broker.data_dir().join("components").join(format!("{digest}.wasm"));
        fs::write(path, marked(probe("script"), &format!("script{number}"))).unwrap();
    }
    bed.broker.start_again();
    for number in 0..digests.len() {
        for policy in POLICIES {
            let topic = topic_of(100 + number, policy);
            let told = bed.publish(&topic, &[b"i"]).await;
            assert_eq!(word(&told[0].verdict), "accepted");
            let stored = bed.stored(&topic).await;
            let last = stored.last().and_then(|event| event.value.as_deref());
            assert_eq!(last, Some(&b"i11"[..]), "{topic}: judged as if nothing had been");
        }
    }
}
