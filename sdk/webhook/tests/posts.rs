//! From an event in a topic to a signed request at a receiver, against a broker of paper and a real
//! HTTP server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../client/tests/fake/mod.rs"]
mod fake;
#[path = "support/receiver.rs"]
mod receiver;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fake::FakeBroker;
use receiver::{Answer, Receiver, is_signed};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_client::Event;
use weir_webhook::{
    Report, Secret, SigningSecrets, Sink, SinkError, SinkOptions, Undeliverable, Webhook,
    WebhookOptions,
};
use weir_wire::ids::GroupName;

/// After this a test hangs.
const HANGS: Duration = Duration::from_secs(60);
const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=",
];

fn event(key: &[u8], value: &[u8]) -> Event {
    Event { key: Some(key.to_vec().into()), value: Some(value.to_vec().into()), ..Event::default() }
}

fn numbered(partition: u32, count: u32) -> Vec<Event> {
    (0..count).map(|n| event(b"k", format!(r#"{{"p":{partition},"n":{n}}}"#).as_bytes())).collect()
}

fn options(url: &str) -> WebhookOptions {
    WebhookOptions {
        target: url.parse().unwrap(),
        secrets: SigningSecrets::parse(&Secret::new(&SECRETS.join("\n"))).unwrap(),
        ca_file: None,
        attempt_timeout: HANGS,
    }
}

fn plain(receiver: &Receiver) -> WebhookOptions {
    options(&format!("http://{}/hook?x=1", receiver.address))
}

/// A sink at work.
struct Running {
    sink: Arc<Sink<Webhook>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), SinkError>>,
}

impl Running {
    async fn start(broker: &FakeBroker, options: WebhookOptions, patience: Duration) -> Self {
        let sink = Sink::new(
            Webhook::new(options).unwrap(),
            SinkOptions {
                topic: broker.topic(),
                group: GroupName::parse("webhook").unwrap(),
                at_once: 1,
                patience,
                undeliverable: Undeliverable::Discard,
                until_end: false,
            },
        );
        let client = broker.client().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async {
            let _ = stopped.await;
        };
        let running = sink.clone();
        let task = tokio::spawn(async move { running.run(&client, until).await });
        Self { sink, stop: Some(stop), task }
    }

    async fn ended(self) -> (Result<(), SinkError>, Report) {
        let result = tokio::time::timeout(HANGS, self.task).await.unwrap().unwrap();
        (result, self.sink.report())
    }

    async fn stopped(mut self) -> Report {
        self.stop.take();
        let (result, report) = self.ended().await;
        result.unwrap();
        report
    }
}

#[tokio::test]
async fn an_event_arrives_as_it_is_and_signed_with_every_secret() {
    let (broker, receiver) = (FakeBroker::start(1).await, Receiver::start().await);
    let hostile = event(b"a\r\nX-Evil: 1", b"\xFF\x00\r\n\r\n");
    broker.shelf().append(0, vec![event(b"alice", b"{\"seat\": \"12A\"}"), hostile]);
    let running = Running::start(&broker, plain(&receiver), HANGS).await;
    let got = receiver.wait_for(2).await;
    assert_eq!(running.stopped().await, Report { delivered: 2, ..Report::default() });
    assert_eq!(broker.shelf().committed.get(&0), Some(&2));

    assert_eq!(got[0].body, "{\"seat\": \"12A\"}");
    assert_eq!(got[0].header("webhook-id"), "bookings:0:0");
    assert_eq!(got[0].header("content-type"), "application/json");
    assert_eq!(got[0].header("weir-key"), "alice");
    assert_eq!(&got[1].body[..], b"\xFF\x00\r\n\r\n");
    assert_eq!(got[1].header("content-type"), "application/octet-stream");
    assert_eq!(got[1].header("weir-key"), "a%0D%0AX-Evil%3A%201");
    assert_eq!(got[1].header("x-evil"), "");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for one in &got {
        let timestamp: u64 = one.header("webhook-timestamp").parse().unwrap();
        assert!(now - timestamp < 60, "{timestamp}");
        assert!(SECRETS.iter().all(|secret| is_signed(one, secret)), "{one:?}");
        assert!(!is_signed(one, "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCBvZiAzMiBi"));
        let mut forged = one.clone();
        forged.body = "other".into();
        assert!(!is_signed(&forged, SECRETS[0]));
    }
}

#[tokio::test]
async fn what_is_not_taken_comes_again_under_the_same_name_and_in_order() {
    let (broker, receiver) = (FakeBroker::start(1).await, Receiver::start().await);
    receiver.answer([
        Answer::Status(500),
        Answer::With(429, "retry-after", "1".into()),
        Answer::Status(408),
        Answer::Status(200),
    ]);
    broker.shelf().append(0, numbered(0, 2));
    let begun = tokio::time::Instant::now();
    let running = Running::start(&broker, plain(&receiver), HANGS).await;
    let got = receiver.wait_for(5).await;
    assert_eq!(running.stopped().await, Report { delivered: 2, retries: 3, ..Report::default() });
    let ids: Vec<_> = got.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(
        ids,
        ["bookings:0:0", "bookings:0:0", "bookings:0:0", "bookings:0:0", "bookings:0:1"]
    );
    assert!(got.iter().all(|one| is_signed(one, SECRETS[0])));
    assert!(Duration::from_secs(1) <= begun.elapsed(), "Retry-After was not honoured");
}

#[tokio::test]
async fn what_is_refused_for_good_holds_up_nobody_and_no_redirect_is_followed() {
    let (broker, receiver) = (FakeBroker::start(1).await, Receiver::start().await);
    let elsewhere = format!("http://{}/elsewhere", receiver.address);
    receiver.answer([
        Answer::Status(410),
        Answer::Status(400),
        Answer::With(307, "location", elsewhere),
        Answer::Endless(422),
    ]);
    broker.shelf().append(0, numbered(0, 5));
    let running = Running::start(&broker, plain(&receiver), HANGS).await;
    receiver.wait_for(5).await;
    let report = running.stopped().await;
    assert_eq!(report, Report { delivered: 1, discarded: 4, ..Report::default() });
    assert_eq!(receiver.got().len(), 5, "one request for each event");
    assert_eq!(broker.shelf().committed.get(&0), Some(&5));
}

#[tokio::test]
async fn a_receiver_that_wants_more_time_than_there_is_patience_is_given_up() {
    let (broker, receiver) = (FakeBroker::start(1).await, Receiver::start().await);
    receiver.answer([Answer::With(503, "retry-after", "3600".into())]);
    broker.shelf().append(0, numbered(0, 2));
    let running = Running::start(&broker, plain(&receiver), Duration::from_secs(5)).await;
    receiver.wait_for(2).await;
    assert_eq!(running.stopped().await, Report { delivered: 1, discarded: 1, ..Report::default() });
}

#[tokio::test]
async fn a_receiver_that_is_away_is_waited_for_and_one_that_is_slow_asked_again() {
    let broker = FakeBroker::start(1).await;
    let away = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = away.local_addr().unwrap();
    broker.shelf().append(0, numbered(0, 1));
    let slow = WebhookOptions {
        attempt_timeout: Duration::from_millis(300),
        ..options(&format!("http://{address}/"))
    };
    let running = Running::start(&broker, slow, HANGS).await;
    drop(tokio::time::timeout(HANGS, away.accept()).await.unwrap().unwrap());
    drop(away);
    let receiver = Receiver::start_at(address).await;
    receiver.answer([Answer::Silence, Answer::Status(200)]);
    let got = receiver.wait_for(2).await;
    receiver.go_on();
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
    let report = running.stopped().await;
    assert_eq!((report.delivered, report.discarded), (1, 0));
    assert!(2 <= report.retries, "{report:?}");
}

/// A certificate for this name, and the file that vouches for it.
fn certificate(name: &str) -> (rustls::ServerConfig, tempfile::TempDir, PathBuf) {
    let certified = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certified.cert.pem()).unwrap();
    (tls, folder, ca_file)
}

#[tokio::test]
async fn https_to_those_who_are_trusted_and_to_nobody_else() {
    let (tls, _folder, ca_file) = certificate("127.0.0.1");
    let (_, _other_folder, other) = certificate("127.0.0.1");
    let receiver = Receiver::start_tls(tls).await;
    let url = format!("https://{}/", receiver.address);
    let broker = FakeBroker::start(1).await;
    broker.shelf().append(0, numbered(0, 1));

    let by_name = format!("https://localhost:{}/", receiver.address.port());
    for (url, ca_file) in [(&url, &other), (&by_name, &ca_file)] {
        let wrong = WebhookOptions { ca_file: Some(ca_file.clone()), ..options(url) };
        let (result, report) = Running::start(&broker, wrong, HANGS).await.ended().await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
        assert_eq!(report, Report::default());
    }
    assert!(receiver.got().is_empty());
    assert_eq!(broker.shelf().committed.get(&0), None, "nothing is lost");

    let right = WebhookOptions { ca_file: Some(ca_file), ..options(&url) };
    let running = Running::start(&broker, right, HANGS).await;
    receiver.wait_for(1).await;
    assert_eq!(running.stopped().await, Report { delivered: 1, ..Report::default() });
}
