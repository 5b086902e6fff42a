//! From a notice in a topic to a mail in an inbox, against a broker of paper and a real SMTP server.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../client/tests/fake/mod.rs"]
mod fake;

use std::time::Duration;

use fake::FakeBroker;
use tokio::sync::oneshot;
use weir_client::Event;
use weir_mailer::loopback::Inbox;
use weir_mailer::{Addresses, Mailer, MailerOptions, Report};
use weir_wire::ids::GroupName;

fn notice(key: &str) -> Event {
    let value = serde_json::json!({
        "key": key, "day": "2013-01-01", "limit": 2, "opens_at": "2013-01-02T00:00:00Z", "topic": "flights",
    });
    Event {
        key: Some(key.to_owned().into()),
        value: Some(value.to_string().into()),
        ..Event::default()
    }
}

/// Runs a mailer until `mails` are in the inbox.
async fn run_until(broker: &FakeBroker, inbox: &Inbox, mails: usize) -> Report {
    let mailer = Mailer::new(MailerOptions {
        smtp: inbox.address().to_string(),
        addresses: Addresses {
            from: "weir@example.com".into(),
            to_template: "{key}@example.com".into(),
        },
        topic: broker.topic(),
        group: GroupName::parse("mailer").unwrap(),
    });
    let client = broker.client().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async {
        let _ = stopped.await;
    };
    let running = tokio::spawn(async move { mailer.unwrap().run(&client, until).await });
    tokio::time::timeout(Duration::from_secs(60), inbox.wait_for(mails)).await.unwrap();
    drop(stop);
    running.await.unwrap().unwrap()
}

#[tokio::test]
async fn each_notice_becomes_one_mail_also_over_a_restart() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    broker.shelf().append(0, vec![notice("alice"), notice("bob")]);
    // The inbox has the mail before the mailer hears so: the stop waits for that, and for the commit.
    assert_eq!(run_until(&broker, &inbox, 2).await, Report { sent: 2, failed: 0 });
    assert_eq!(broker.shelf().committed.get(&0), Some(&2));

    broker.shelf().append(0, vec![notice("carol")]);
    assert_eq!(run_until(&broker, &inbox, 3).await, Report { sent: 1, failed: 0 });
    let mails = inbox.mails();
    let recipients: Vec<_> = mails.iter().flat_map(|mail| mail.to.clone()).collect();
    assert_eq!(recipients, ["alice@example.com", "bob@example.com", "carol@example.com"]);
    assert_eq!(mails[0].header("Subject"), Some("alice is over the limit of 2 on 2013-01-01"));
    assert!(mails[0].body().contains("opens again at 2013-01-02T00:00:00Z"), "{}", mails[0].body());
    assert_eq!(mails[2].header("Message-ID"), Some("<bookings.0.2@weir>"));
}

#[tokio::test]
async fn a_busy_server_gets_the_mail_later() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    inbox.be_busy(2);
    broker.shelf().append(0, vec![notice("alice")]);
    assert_eq!(run_until(&broker, &inbox, 1).await, Report { sent: 1, failed: 0 });
}

#[tokio::test]
async fn an_address_that_is_none_holds_up_nobody() {
    let (broker, inbox) = (FakeBroker::start(1).await, Inbox::start().unwrap());
    let keys = ["nobody", "not an address", "alice"];
    broker.shelf().append(0, keys.map(notice).to_vec());
    assert_eq!(run_until(&broker, &inbox, 1).await, Report { sent: 1, failed: 2 });
    assert_eq!(broker.shelf().committed.get(&0), Some(&3));
}
