//! From an event in a topic to a mail in an inbox, against a broker of paper and a real SMTP server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../client/tests/fake/mod.rs"]
mod fake;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fake::FakeBroker;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_client::Event;
use weir_mailer::loopback::{Inbox, InboxOptions};
use weir_mailer::{
    Credentials, Mailer, MailerOptions, Recipient, Report, Secret, Security, Sink, SinkError,
    SinkOptions, SmtpServer, Template, Undeliverable,
};
use weir_wire::ids::GroupName;

/// After this a test hangs.
const HANGS: Duration = Duration::from_secs(60);
const PASSWORD: &str = "hunter2 of the tests";

fn notice(key: &str) -> Event {
    let value = serde_json::json!({
        "key": key, "day": "2013-01-01", "limit": 2, "opens_at": "2013-01-02T00:00:00Z", "topic": "flights",
    });
    event(key.as_bytes(), value.to_string().as_bytes())
}

fn event(key: &[u8], value: &[u8]) -> Event {
    Event { key: Some(key.to_vec().into()), value: Some(value.to_vec().into()), ..Event::default() }
}

fn server(address: SocketAddr, security: Security) -> SmtpServer {
    SmtpServer { host: address.ip().to_string(), port: address.port(), security }
}

fn mailer(smtp: SmtpServer) -> MailerOptions {
    MailerOptions {
        smtp,
        credentials: None,
        ca_file: None,
        attempt_timeout: HANGS,
        from: "weir@example.com".into(),
        to: Recipient::Pattern("{{ key }}@example.com".into()),
        templates: Vec::new(),
    }
}

fn plain(inbox: &Inbox) -> MailerOptions {
    mailer(server(inbox.address(), Security::Plain))
}

/// A mailer at work.
struct Running {
    sink: Arc<Sink<Mailer>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), SinkError>>,
}

impl Running {
    async fn start(broker: &FakeBroker, options: MailerOptions, patience: Duration) -> Self {
        let sink = Sink::new(
            Mailer::new(options).unwrap(),
            SinkOptions {
                topic: broker.topic(),
                group: GroupName::parse("mailer").unwrap(),
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

    /// Tells it to stop, without waiting.
    fn tell_to_stop(&mut self) {
        self.stop.take();
    }

    /// Waits until it has ended.
    async fn ended(self) -> (Result<(), SinkError>, Report) {
        let result = tokio::time::timeout(HANGS, self.task).await.unwrap().unwrap();
        (result, self.sink.report())
    }

    async fn stopped(mut self) -> Report {
        self.tell_to_stop();
        let (result, report) = self.ended().await;
        result.unwrap();
        report
    }
}

async fn mails(inbox: &Inbox, count: usize) -> Vec<weir_mailer::loopback::Mail> {
    tokio::time::timeout(HANGS, inbox.wait_for(count)).await.unwrap()
}

/// Runs a mailer until `count` mails are in the inbox.
async fn run_until(
    broker: &FakeBroker,
    inbox: &Inbox,
    options: MailerOptions,
    count: usize,
) -> Report {
    let running = Running::start(broker, options, HANGS).await;
    mails(inbox, count).await;
    running.stopped().await
}

#[tokio::test]
async fn each_notice_becomes_one_mail_also_over_a_restart() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    broker.shelf().append(0, vec![notice("alice"), notice("bob")]);
    // The inbox has the mail before the mailer hears so: the stop waits for that, and for the commit.
    let report = run_until(&broker, &inbox, plain(&inbox), 2).await;
    assert_eq!(report, Report { delivered: 2, ..Report::default() });
    assert_eq!(broker.shelf().committed.get(&0), Some(&2));

    broker.shelf().append(0, vec![notice("carol")]);
    let report = run_until(&broker, &inbox, plain(&inbox), 3).await;
    assert_eq!(report, Report { delivered: 1, ..Report::default() });
    let mails = inbox.mails();
    let recipients: Vec<_> = mails.iter().flat_map(|mail| mail.to.clone()).collect();
    assert_eq!(recipients, ["alice@example.com", "bob@example.com", "carol@example.com"]);
    assert_eq!(mails[0].header("Subject"), Some("alice is over the limit of 2 on 2013-01-01"));
    assert!(mails[0].body().contains("opens again at 2013-01-02T00:00:00Z"), "{}", mails[0].body());
    assert_eq!(mails[2].header("Message-ID"), Some("<bookings.0.2.weir@example.com>"));
}

#[tokio::test]
async fn a_busy_server_gets_the_mail_later() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    inbox.be_busy(2);
    broker.shelf().append(0, vec![notice("alice")]);
    let report = run_until(&broker, &inbox, plain(&inbox), 1).await;
    assert_eq!(report, Report { delivered: 1, retries: 2, ..Report::default() });
}

#[tokio::test]
async fn a_server_that_is_always_busy_is_given_up_and_holds_up_nobody_for_ever() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    inbox.be_busy(u32::MAX);
    broker.shelf().append(0, vec![notice("alice")]);
    let running = Running::start(&broker, plain(&inbox), Duration::from_millis(300)).await;
    let sink = running.sink.clone();
    while sink.report().discarded == 0 {
        tokio::task::yield_now().await;
    }
    inbox.be_busy(0);
    let report = running.stopped().await;
    assert_eq!((report.delivered, report.discarded), (0, 1));
    assert!(0 < report.retries, "{report:?}");
    assert_eq!(broker.shelf().committed.get(&0), Some(&1));
}

#[tokio::test]
async fn what_can_never_be_delivered_holds_up_nobody() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    let keys = ["nobody", "spam", "not an address", "alice"];
    broker.shelf().append(0, keys.map(notice).to_vec());
    let report = run_until(&broker, &inbox, plain(&inbox), 1).await;
    assert_eq!(report, Report { delivered: 1, discarded: 3, ..Report::default() });
    assert_eq!(broker.shelf().committed.get(&0), Some(&4));
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let broker = FakeBroker::start(1).await;
    // Somebody picks up once and hangs up, so the mailer has tried when the server comes.
    let away = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = away.local_addr().unwrap();
    broker.shelf().append(0, vec![notice("alice")]);
    // Time in which nobody is there uses up no patience.
    let patience = Duration::from_millis(1);
    let running = Running::start(&broker, mailer(server(address, Security::Plain)), patience).await;
    drop(tokio::time::timeout(HANGS, away.accept()).await.unwrap().unwrap());
    drop(away);
    let inbox = Inbox::start_with(InboxOptions { address, ..InboxOptions::default() }).unwrap();
    mails(&inbox, 1).await;
    let report = running.stopped().await;
    assert_eq!((report.delivered, report.discarded), (1, 0));
    assert!(0 < report.retries, "{report:?}");
}

#[tokio::test]
async fn a_server_that_is_too_slow_gets_the_mail_again_under_the_same_name() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    inbox.be_silent(true);
    broker.shelf().append(0, vec![notice("alice")]);
    let options = MailerOptions { attempt_timeout: Duration::from_millis(300), ..plain(&inbox) };
    let running = Running::start(&broker, options, HANGS).await;
    mails(&inbox, 2).await;
    inbox.be_silent(false);
    let sink = running.sink.clone();
    while sink.report().delivered == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.stopped().await.delivered, 1);
    let ids: BTreeSet<_> =
        inbox.mails().iter().map(|mail| mail.header("Message-ID").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test]
async fn a_stop_waits_for_the_mail_under_way_and_its_commit() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    inbox.be_silent(true);
    broker.shelf().append(0, vec![notice("alice"), notice("bob")]);
    let mut running = Running::start(&broker, plain(&inbox), HANGS).await;
    mails(&inbox, 1).await;
    running.tell_to_stop();
    inbox.be_silent(false);
    let (result, report) = running.ended().await;
    result.unwrap();
    assert_eq!(report, Report { delivered: 1, ..Report::default() });
    assert_eq!(broker.shelf().committed.get(&0), Some(&1));
    assert_eq!(inbox.mails().len(), 1, "no further mail was begun");
}

#[tokio::test]
async fn nothing_an_event_holds_reaches_another_or_ends_the_mailer() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    let megabyte = format!(r#"{{"what":"{}"}}"#, "x".repeat(900_000));
    let smuggled = br#"{"what":"x\r\n.\r\nRCPT TO:<eve@example.com>\r\nBcc: eve@example.com"}"#;
    broker.shelf().append(
        0,
        vec![
            event(b"a\r\nRCPT TO:<eve@example.com>", b"{}"),
            event(b"alice", b"\xFF\xFE no text"),
            event(b"alice", b"{\"what\": "),
            event(b"alice", megabyte.as_bytes()),
            event(b"alice", smuggled),
            event(b"bob", br#"{"what":"hello"}"#),
        ],
    );
    let template = Template::parse("t", "Subject: {{ value.what }}\n\n{{ value.what }}\n").unwrap();
    let options = MailerOptions { templates: vec![template], ..plain(&inbox) };
    let report = run_until(&broker, &inbox, options, 2).await;
    assert_eq!(report, Report { delivered: 2, discarded: 4, ..Report::default() });
    let mails = inbox.mails();
    let to: Vec<_> = mails.iter().map(|mail| mail.to.clone()).collect();
    assert_eq!(to, [["alice@example.com"], ["bob@example.com"]]);
    assert_eq!(mails[0].header("Bcc"), None);
    assert_eq!(
        mails[0].header("Subject"),
        Some("x  .  RCPT TO:<eve@example.com>  Bcc: eve@example.com")
    );
    assert!(mails[0].body().contains("RCPT TO:<eve@example.com>"), "{}", mails[0].text);
}

/// A server with TLS and a user, and the file with its certificate.
struct Guarded {
    inbox: Inbox,
    ca_file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Guarded {
    fn start(security: Security, name: &str) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key =
            rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
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
        let inbox = Inbox::start_with(InboxOptions {
            security,
            tls: Some(Arc::new(tls)),
            user: Some(("weir".to_owned(), PASSWORD.to_owned())),
            ..InboxOptions::default()
        });
        Self { inbox: inbox.unwrap(), ca_file, _folder: folder }
    }

    fn options(&self, security: Security, password: &str) -> MailerOptions {
        let credentials = Credentials { user: "weir".into(), password: Secret::new(password) };
        MailerOptions {
            credentials: Some(credentials),
            ca_file: Some(self.ca_file.clone()),
            ..mailer(server(self.inbox.address(), security))
        }
    }
}

#[tokio::test]
async fn tls_from_the_start_or_from_a_word_on_and_a_password_behind_it() {
    for security in [Security::Tls, Security::Starttls] {
        let (broker, guarded) = (FakeBroker::start(1).await, Guarded::start(security, "127.0.0.1"));
        broker.shelf().append(0, vec![notice("alice")]);
        let options = guarded.options(security, PASSWORD);
        let report = run_until(&broker, &guarded.inbox, options, 1).await;
        assert_eq!(report, Report { delivered: 1, ..Report::default() }, "{security:?}");
    }
}

/// The mailer ends with this word, and no event is done.
async fn ends_with(guarded: &Guarded, options: MailerOptions, says: &str) {
    let broker = FakeBroker::start(1).await;
    broker.shelf().append(0, vec![notice("alice")]);
    let (result, report) = Running::start(&broker, options, HANGS).await.ended().await;
    let error = result.unwrap_err();
    assert!(matches!(error, SinkError::Stopped(_)), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(says), "{text} does not say {says}");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(report, Report::default());
    assert_eq!(broker.shelf().committed.get(&0), None);
    assert!(guarded.inbox.mails().is_empty());
}

#[tokio::test]
async fn a_wrong_certificate_name_password_or_server_ends_the_mailer_and_nothing_is_lost() {
    for security in [Security::Tls, Security::Starttls] {
        let guarded = Guarded::start(security, "127.0.0.1");
        let other = Guarded::start(security, "127.0.0.1");
        let mut options = guarded.options(security, PASSWORD);
        options.ca_file = Some(other.ca_file.clone());
        ends_with(&guarded, options, "certificate").await;
        ends_with(&guarded, guarded.options(security, "hunter2 but wrong"), "535").await;
        let elsewhere = Guarded::start(security, "mail.example.com");
        ends_with(&elsewhere, elsewhere.options(security, PASSWORD), "certificate").await;
        let mut anonymous = guarded.options(security, PASSWORD);
        anonymous.credentials = None;
        ends_with(&guarded, anonymous, "503").await;
    }
    // A server, or somebody between, that offers no TLS gets neither password nor mail.
    let plain = Guarded::start(Security::Plain, "127.0.0.1");
    ends_with(&plain, plain.options(Security::Starttls, PASSWORD), "STARTTLS").await;
    ends_with(&plain, plain.options(Security::Tls, PASSWORD), "TLS failed").await;
}
