//! To the end of the story: the eleventh booking of the day becomes a mail in an inbox, whichever of
//! broker, mailer and SMTP server is killed on the way, and an event a signed request at a receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::Signal;
use serde_json::{Value, json};
use weir_mailer::loopback::{Inbox, InboxOptions, Mail};
use weir_tests::broker::Broker;
use weir_tests::flights;
use weir_tests::service::Service;

const LIMIT: u64 = 10;
/// Partitions of the notices: as many mails can be under way.
const PARTITIONS: usize = 2;
/// Users who go over the limit in one portion of bookings.
const USERS: usize = 20;

fn topic(broker: &Broker, name: &str, partitions: usize) {
    broker.done(["topic", "create", name, "--partitions", &partitions.to_string()]);
}

fn mailer(broker: &Broker, smtp: SocketAddr, variables: &[(&str, &str)], more: &[&str]) -> Service {
    let smtp = format!("smtp://{smtp}");
    let words = ["--topic", "notices", "--dead-letter", "undeliverable", "--smtp", &smtp];
    let from_to = ["--from", "weir <weir@example.com>", "--to", "{{ key }}@example.com", "--json"];
    let words = words.iter().chain(&from_to).chain(more);
    Service::start(broker, "weir-mailer", words, variables)
}

/// An address for the SMTP server that nobody else takes while it is down: the broker's own host.
fn smtp_address(broker: &Broker) -> SocketAddr {
    let host: Ipv4Addr = broker.data_address().split(':').next().unwrap().parse().unwrap();
    SocketAddr::from((host, 2525))
}

fn inbox(broker: &Broker) -> Service {
    let words = [smtp_address(broker).to_string(), "inbox.jsonl".to_owned()];
    let inbox = Service::start(broker, "smtp-inbox", words, &[]);
    broker.wait_until("the SMTP server is ready", || inbox.stdout().starts_with("ready"));
    inbox
}

/// The mails that the server said yes to, or was about to.
fn mails(broker: &Broker) -> Vec<Mail> {
    let text = fs::read_to_string(broker.folder().join("inbox.jsonl")).unwrap_or_default();
    // What was killed in the middle of a line said no yes.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn lag(broker: &Broker, group: &str) -> Option<u64> {
    let told = broker.weir(["group", "describe", group, "--json"]);
    let described = told.status.success().then(|| told.json()["topics"][0].clone())?;
    Some(described["partitions"].as_array()?.iter().map(|at| at["lag"].as_u64().unwrap()).sum())
}

/// Twelve bookings for each user of a portion; the eleventh and twelfth are over.
fn book(broker: &Broker, portion: usize) {
    let path = broker.folder().join("bookings.jsonl");
    let users = portion * USERS..(portion + 1) * USERS;
    let line =
        |(booking, user): (u64, usize)| format!("{{\"user\":\"u{user}\",\"n\":{booking}}}\n");
    let lines: String =
        (0..LIMIT + 2).flat_map(|n| users.clone().map(move |user| (n, user))).map(line).collect();
    fs::write(path, lines).unwrap();
    let words = ["publish", "bookings", "--input", "bookings.jsonl", "--key", "/user", "--json"];
    let summary = broker.done(words).json();
    assert_eq!(summary["rejected"], json!({ "daily-limit": 2 * USERS }));
}

fn values(broker: &Broker, topic: &str) -> Vec<Value> {
    broker.done(["consume", topic, "--until-end"]).json_lines()
}

fn header(event: &Value, name: &str) -> String {
    let headers = event["headers"].as_array().unwrap();
    let found = headers.iter().find(|header| header["name"] == format!("sink-dead-letter-{name}"));
    found.map_or(String::new(), |header| header["value"].as_str().unwrap().to_owned())
}

#[test]
fn the_eleventh_booking_becomes_one_mail_whoever_is_killed_on_the_way() {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    topic(&broker, "bookings", 4);
    topic(&broker, "notices", PARTITIONS);
    topic(&broker, "undeliverable", 1);
    broker.done(["plugin", "push", "daily-limit", flights::daily_limit().to_str().unwrap()]);
    let config = json!({ "limit": LIMIT, "key": "event", "time": "event", "notice": "notices" });
    let config = config.to_string();
    let bind = ["plugin", "bind", "bookings", "daily-limit", "--emit", "notices", "--config"];
    broker.done(bind.iter().chain(&[config.as_str()]));

    let (mut server, mut service) =
        (inbox(&broker), mailer(&broker, smtp_address(&broker), &[], &[]));
    let portions = 6;
    for portion in 0..portions {
        let before = mails(&broker).len();
        book(&broker, portion);
        // In the middle of its work, with mails under way.
        broker.wait_until("a mail of this portion is out", || before < mails(&broker).len());
        match portion % 3 {
            0 => {
                service.kill();
                service = mailer(&broker, smtp_address(&broker), &[], &[]);
            }
            1 => {
                server.kill();
                server = inbox(&broker);
            }
            _ => {
                broker.kill();
                broker.start_again();
            }
        }
    }
    broker.wait_until("every notice is done", || lag(&broker, "mailer") == Some(0));
    let (status, told) = service.end(Signal::TERM);
    assert!(status.success(), "{status}: {told}");
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&report["dead_lettered"], &report["lost"]), (&json!(0), &json!(0)), "{told}");

    let mails = mails(&broker);
    let mut copies: BTreeMap<_, usize> = BTreeMap::new();
    for mail in &mails {
        *copies.entry((mail.to[0].clone(), mail.header("Message-ID").unwrap())).or_default() += 1;
    }
    let users: BTreeSet<_> = copies.keys().map(|(user, _)| user.clone()).collect();
    let expected: BTreeSet<_> =
        (0..portions * USERS).map(|user| format!("u{user}@example.com")).collect();
    assert_eq!(users, expected, "everyone over the limit, and nobody else");
    assert_eq!(copies.len(), users.len(), "one notice for each");
    let twice = mails.len() - copies.len();
    // A kill of the mailer or of its server can repeat what was under way; one of the broker nothing.
    let kills = portions - portions / 3;
    assert!(twice <= kills * PARTITIONS, "{twice} copies after {kills} kills");
    assert!(copies.values().all(|copies| *copies <= 1 + kills), "{copies:?}");
    assert_eq!(values(&broker, "undeliverable"), Vec::<Value>::new());
    server.kill();
}

#[test]
fn killed_between_the_servers_yes_and_the_commit_a_mail_is_sent_once_more() {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    topic(&broker, "notices", 1);
    topic(&broker, "undeliverable", 1);
    let inbox = Inbox::start_with(InboxOptions::default()).unwrap();
    inbox.be_silent(true);
    publish(&broker, "notices", &[("alice", "one"), ("bob", "two")]);
    let logs = [("RUST_LOG", "info,weir_sink=debug")];
    let service = mailer(&broker, inbox.address(), &logs, &[]);
    broker.wait_until("the mail is under way", || inbox.mails().len() == 1);
    broker.kill();
    inbox.be_silent(false);
    broker.wait_until("the mailer heard the yes", || service.log().contains("delivered"));
    service.kill();
    broker.start_again();

    let service = mailer(&broker, inbox.address(), &logs, &[]);
    broker.wait_until("all is done", || lag(&broker, "mailer") == Some(0));
    let (status, told) = service.end(Signal::TERM);
    assert!(status.success(), "{status}");
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&report["delivered"], &report["uncommitted"]), (&json!(2), &json!(0)), "{told}");
    let ids: Vec<_> =
        inbox.mails().iter().map(|mail| mail.header("Message-ID").unwrap().to_owned()).collect();
    let id = |offset| format!("<notices.0.{offset}.weir@example.com>");
    assert_eq!(ids, [id(0), id(0), id(1)]);

    let (status, told) = mailer(&broker, inbox.address(), &[], &["--until-end"]).ended();
    let report: Value = serde_json::from_str(&told).unwrap();
    assert!(status.success() && report["delivered"] == json!(0), "{status}: {told}");
}

#[test]
fn a_broker_that_is_away_while_a_mail_goes_out_makes_no_second_copy() {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    topic(&broker, "notices", 1);
    topic(&broker, "undeliverable", 1);
    let inbox = Inbox::start_with(InboxOptions::default()).unwrap();
    inbox.be_silent(true);
    publish(&broker, "notices", &[("alice", "one"), ("bob", "two")]);
    let service = mailer(&broker, inbox.address(), &[], &[]);
    broker.wait_until("the mail is under way", || inbox.mails().len() == 1);
    broker.kill();
    inbox.be_silent(false);
    // By then the member's session is over, and what it held is not its own any more.
    broker
        .wait_until("the commit has failed", || service.log().contains("done, but not committed"));
    broker.start_again();
    broker.wait_until("all is done", || lag(&broker, "mailer") == Some(0));
    let (status, told) = service.end(Signal::TERM);
    assert!(status.success(), "{status}: {told}");
    assert_eq!(inbox.mails().len(), 2, "one each");
}

/// Publishes values under keys.
fn publish(broker: &Broker, topic: &str, events: &[(&str, &str)]) {
    let line = |(key, value): &(&str, &str)| format!("{}\n", json!({ "key": key, "value": value }));
    let lines: String = events.iter().map(line).collect();
    fs::write(broker.folder().join("events.jsonl"), lines).unwrap();
    broker.done(["publish", topic, "--input", "events.jsonl", "--key", "/key"]);
}

#[test]
fn what_becomes_no_mail_is_kept_with_why_and_where_from() {
    let broker = Broker::start();
    topic(&broker, "notices", 1);
    topic(&broker, "undeliverable", 1);
    let inbox = Inbox::start_with(InboxOptions::default()).unwrap();
    publish(&broker, "notices", &[("nobody", "1"), ("not an address", "2"), ("alice", "3")]);
    fs::write(
        broker.folder().join("mailer.toml"),
        "dead-letter = \"wrong\"\ngroup = \"from-file\"\nuntil-end = true\n",
    )
    .unwrap();
    let (status, told) =
        mailer(&broker, inbox.address(), &[], &["--config", "mailer.toml"]).ended();
    let report: Value = serde_json::from_str(&told).unwrap();
    assert!(status.success(), "{status}: {told}");
    let counts = json!({ "delivered": 1, "retries": 0, "dead_lettered": 2, "discarded": 0, "lost": 0, "uncommitted": 0 });
    assert_eq!(report, counts);
    assert_eq!(lag(&broker, "from-file"), Some(0));

    let letters = values(&broker, "undeliverable");
    let said = |name| letters.iter().map(|letter| header(letter, name)).collect::<Vec<_>>();
    assert_eq!(said("code"), ["refused", "bad-address"]);
    assert_eq!(said("offset"), ["0", "1"]);
    assert_eq!(said("attempts"), ["1", "0"]);
    assert_eq!(said("topic"), ["notices", "notices"]);
    assert_eq!(said("group"), ["from-file", "from-file"]);
    assert!(said("reason")[0].contains("550"), "{:?}", said("reason"));
    assert_eq!(letters[1]["key"], "not an address");
    assert_eq!(letters[0]["value"], values(&broker, "notices")[0]["value"]);
}

#[test]
fn a_wrong_setting_is_one_sentence_that_says_what_to_do() {
    let broker = Broker::start();
    topic(&broker, "notices", 1);
    let smtp = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    for (more, code, says) in [
        (&["--at-once", "0"][..], 2, "--at-once"),
        (&["--discard"], 2, "cannot be used with"),
        (&["--config", "none.toml"], 2, "none.toml"),
        (&["--template", "none.txt"], 1, "cannot read the template none.txt"),
        (&["--user", "weir"], 1, "readable on its way"),
        (&[], 1, "undeliverable"),
    ] {
        let variables = [("WEIR_SMTP_PASSWORD", "hunter2")];
        let service = mailer(&broker, smtp, &variables, more);
        let log = broker.folder().join("weir-mailer.log");
        let (status, _) = service.ended();
        let told = fs::read_to_string(&log).unwrap();
        fs::remove_file(log).unwrap();
        assert_eq!(status.code(), Some(code), "{more:?}: {told}");
        assert!(told.contains(says) && !told.contains("hunter2"), "{more:?}: {told}");
    }
}

/// A receiver of five dozen lines, which has no code in common with the sender: it answers only when
/// `together` requests have come, and says 410 to events whose body holds "gone".
struct Receiver {
    address: SocketAddr,
    ids: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    fn start(together: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ids = Arc::new(Mutex::new(Vec::new()));
        let (inside, gate) = (ids.clone(), Arc::new((Mutex::new(0), Condvar::new())));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (ids, gate) = (inside.clone(), gate.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &ids, &gate, together));
            }
        });
        Self { address, ids }
    }
}

fn serve(
    stream: TcpStream,
    ids: &Mutex<Vec<String>>,
    (come, more): &(Mutex<usize>, Condvar),
    together: usize,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let (mut length, mut id) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line == "\r\n" { break } else { continue }
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "webhook-id" => id = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        ids.lock().unwrap().push(id);
        let mut count = come.lock().unwrap();
        *count += 1;
        more.notify_all();
        drop(more.wait_while(count, |count| *count < together).unwrap());
        let is_gone = String::from_utf8_lossy(&body).contains("gone");
        let status = if is_gone { "410 Gone" } else { "204 No Content" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

#[test]
fn events_are_posted_in_order_per_partition_and_several_partitions_at_once() {
    let broker = Broker::start();
    let partitions = 3;
    topic(&broker, "notices", partitions);
    topic(&broker, "undeliverable", 1);
    let events: Vec<_> = (0..60).map(|n| (format!("k{}", n % 20), n)).collect();
    let events: Vec<_> = events
        .iter()
        .map(|(key, n)| (key.as_str(), if *n == 7 { "gone" } else { "here" }))
        .collect();
    publish(&broker, "notices", &events);
    let receiver = Receiver::start(partitions);
    let url = format!("http://{}/", receiver.address);
    let words = ["--topic", "notices", "--dead-letter", "undeliverable", "--json", "--url", &url];
    let secret = ("WEIR_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let service = Service::start(&broker, "weir-webhook", words, &[secret]);
    broker.wait_until("every event is done", || lag(&broker, "webhook") == Some(0));
    let (status, told) = service.end(Signal::INT);
    assert!(status.success(), "{status}: {told}");
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&report["delivered"], &report["dead_lettered"]), (&json!(59), &json!(1)), "{told}");

    let mut next = BTreeMap::new();
    for id in receiver.ids.lock().unwrap().iter() {
        let parts: Vec<_> = id.split(':').collect();
        let [topic, partition, offset] = parts[..] else { panic!("{id}") };
        let expected = next.entry(partition.to_owned()).or_insert(0_u64);
        assert_eq!((topic, offset.parse::<u64>().unwrap()), ("notices", *expected), "{id}");
        *expected += 1;
    }
    assert_eq!((next.len(), next.values().sum::<u64>()), (partitions, 60));
    let letters = values(&broker, "undeliverable");
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (header(&letters[0], "code"), header(&letters[0], "group")),
        ("gone".into(), "webhook".into())
    );
}
