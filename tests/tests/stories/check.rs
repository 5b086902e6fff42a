//! `weir check` and `weir dump`: a data directory looked at while nobody serves it.

use std::fs;
use std::path::{Path, PathBuf};

use weir_tests::broker::{Broker, Output};

/// A stopped broker with two refused bookings of three.
fn stopped() -> Broker {
    let mut broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    broker.done(["topic", "create", "notices"]);
    let rule = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/daily-limit/daily-limit.wasm");
    broker.done(["plugin", "push", "daily-limit", rule]);
    let config = r#"{"limit":1,"key":"event","notice":"notices"}"#;
    broker.done(["plugin", "bind", "bookings", "daily-limit", "--config", config]);
    fs::write(broker.folder().join("in.jsonl"), "{\"user\":\"ann\"}\n".repeat(3)).unwrap();
    let told =
        broker.done(["publish", "bookings", "--input", "in.jsonl", "--key", "/user", "--json"]);
    assert_eq!(told.json()["accepted"], 1);
    let noticed = || broker.done(["topic", "describe", "bookings", "--json"]).json();
    broker
        .wait_until("the notice is relayed", || noticed()["partitions"][0]["outbox_pending"] == 0);
    broker.stop();
    broker
}

fn check(broker: &Broker) -> Output {
    broker.weir(["check", "weir-data", "--json"])
}

fn segment(broker: &Broker, topic: &str) -> PathBuf {
    let log = broker.data_dir().join("log").join(topic).join("0");
    log.join("00000000000000000000.log")
}

/// Everything in a folder, as it is.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(content(&path)),
            false => all.push((path.clone(), fs::read(path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn a_sound_directory_is_said_to_be_sound_and_left_as_it_is() {
    let mut broker = stopped();
    let before = content(&broker.data_dir());
    let told = check(&broker);
    assert!(told.status.success(), "{told:?}");
    let found = told.json();
    assert_eq!(found["damage"].as_array().unwrap().len(), 0, "{found}");
    assert_eq!(found["notes"].as_array().unwrap().len(), 0, "{found}");
    let events = |name: &str| {
        let logs = found["logs"].as_array().unwrap();
        logs.iter().find(|log| log["log"] == name).unwrap()["events"].as_u64().unwrap()
    };
    assert_eq!((events("bookings/0"), events("notices/0")), (1, 1));
    assert!(content(&broker.data_dir()) == before, "something was changed");

    let dumped = broker.done(["dump", "bookings/0", "--json"]).json_lines();
    let batch = dumped.iter().find(|line| line["kind"] == "batch").unwrap();
    assert_eq!(batch["refused"][0], "2 daily-limit", "{batch}");
    assert_eq!(batch["side_events"][0], "#0 to notices by daily-limit", "{batch}");
    let text = broker.done(["dump", "bookings/0", "--from", "1"]).stdout;
    assert!(text.contains("refused    2 daily-limit"), "{text}");

    broker.start_again();
    let refused = check(&broker);
    assert!(
        !refused.status.success() && refused.stderr.contains("a broker is at work"),
        "{refused:?}"
    );
}

#[test]
fn damage_is_named_and_nothing_is_changed() {
    let broker = stopped();
    let data = broker.data_dir();
    let component = fs::read_dir(data.join("components")).unwrap().next().unwrap().unwrap().path();
    let bookings = segment(&broker, "bookings-16");
    for (path, says) in [
        (bookings.clone(), "bookings/0: "),
        (segment(&broker, "notices-17"), "notices/0: "),
        (segment(&broker, "__catalog"), "__catalog: "),
        // It holds no more than the commit that every log begins with.
        (segment(&broker, "__committed_offsets"), "__committed_offsets: "),
        (data.join("tls/key.pem"), "key.pem"),
        (component, "plugin daily-limit@1: "),
    ] {
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 4;
        fs::write(&path, &bad).unwrap();
        let before = content(&data);
        let told = check(&broker);
        assert!(!told.status.success(), "{told:?}");
        let damage = told.json()["damage"].to_string();
        assert!(damage.contains(says), "{says}: {damage}");
        assert!(content(&data) == before, "something was changed");
        fs::write(&path, &good).unwrap();
    }
    // A mark proves something or nothing; that it proves nothing any more is worth a note.
    let mark = bookings.with_file_name("durable.mark");
    let good = fs::read(&mark).unwrap();
    fs::write(&mark, &good[..20]).unwrap();
    let told = check(&broker);
    assert!(told.status.success(), "{told:?}");
    assert!(told.json()["notes"].to_string().contains("durable.mark does not verify"), "{told:?}");
    fs::write(&mark, &good).unwrap();
    // An end that is gone, and a log that is.
    let good = fs::read(&bookings).unwrap();
    for length in [good.len() - 1, good.len() / 2, 0] {
        fs::write(&bookings, &good[..length]).unwrap();
        let damage = check(&broker).json()["damage"].to_string();
        assert!(damage.contains("bookings/0"), "cut to {length}: {damage}");
    }
    fs::remove_file(&bookings).unwrap();
    assert!(check(&broker).json()["damage"].to_string().contains("bookings/0"));
    fs::write(&bookings, &good).unwrap();
    assert!(check(&broker).status.success());
}

#[test]
fn a_damaged_partition_is_refused_and_the_others_serve() {
    let mut broker = stopped();
    let bookings = segment(&broker, "bookings-16");
    let good = fs::read(&bookings).unwrap();
    // Its end was durable, and no later commit says so: the mark does.
    fs::write(&bookings, &good[..good.len() - 3]).unwrap();
    broker.start_again();
    let told = broker.weir(["consume", "bookings", "--until-end"]);
    assert!(!told.status.success() && told.stderr.contains("corrupt"), "{told:?}");
    assert_eq!(broker.done(["consume", "notices", "--until-end"]).stdout.lines().count(), 1);
    let status = broker.done(["status", "--json"]).json();
    assert!(status["stopped"][0].as_str().unwrap().contains("bookings/0"), "{status}");
    broker.stop();
    assert_eq!(fs::read(&bookings).unwrap(), good[..good.len() - 3], "nothing was cut");
    fs::write(&bookings, &good).unwrap();
    broker.start_again();
    assert_eq!(broker.done(["consume", "bookings", "--until-end"]).stdout.lines().count(), 1);
}

#[test]
fn a_certificate_that_nobody_can_verify_is_not_shown() {
    let mut broker = stopped();
    let path = broker.data_dir().join("tls/cert.pem");
    let good = fs::read_to_string(&path).unwrap();
    // One letter of the signature, which the certificate ends with.
    let at = good.find("\n-----END").unwrap() - 8;
    let other = if &good[at..=at] == "A" { "B" } else { "A" };
    fs::write(&path, [&good[..at], other, &good[at + 1..]].concat()).unwrap();
    assert!(check(&broker).json()["damage"].to_string().contains("cert.pem"));
    assert!(broker.start_under(&[]).is_err());
    assert!(broker.log().contains("does not verify by its own key"), "{}", broker.log());
    fs::write(&path, good).unwrap();
    broker.start_again();
}

#[test]
fn what_is_no_data_directory_is_said_to_be_none() {
    let broker = Broker::start();
    let told = broker.weir(["check", "."]);
    assert!(told.stderr.contains("is no data directory"), "{told:?}");
    let told = broker.weir(["dump", "bookings/0", "--dir", "."]);
    assert!(told.stderr.contains("is no data directory"), "{told:?}");
}
