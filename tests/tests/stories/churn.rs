//! Members of a group come, go and die at random while events flow: every event is given, each key's
//! in order; again only behind the last commit; and no commit goes back.
//!
//! `WEIR_TORTURE_SIZE=release` runs rounds for `WEIR_TORTURE_MINUTES`; `WEIR_SEED` repeats what
//! chance decides here (who comes and goes when, and how each member commits).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};
use weir_client::{Admin, Client, ClientConfig, ConsumerOptions, Event, From, ProducerOptions};
use weir_tests::broker::Broker;
use weir_tests::deliveries::{Deliveries, Life};
use weir_tests::load::{connect, create_topic, topic};
use weir_tests::mute::{Death, mortal_client};
use weir_tests::torture::{Row, sized};
use weir_wire::fault::Code;
use weir_wire::ids::{GroupName, PartitionId};

const KEYS: u64 = 97;
/// The shortest there is: others take over soon.
const SESSION: Duration = Duration::from_secs(1);
/// How long the last members may take to be given everything, deaths before that included.
const REST_WAIT_MAX: Duration = Duration::from_secs(60);

fn readers() -> GroupName {
    GroupName::parse("readers").unwrap()
}

/// How a member says what it has finished.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// By asking for more.
    Automatic,
    /// By receipts, in any order.
    Receipts,
    /// By commits of its own.
    Explicit,
}

/// One that reads until it is told to leave, or struck dead.
struct Member {
    death: Death,
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Member {
    fn join(config: ClientConfig, book: Deliveries, manner: Manner, seed: u64) -> Self {
        let (death, (leave, left)) = (Death::default(), watch::channel(false));
        let mortal = death.clone();
        let task = tokio::spawn(async move {
            let client = mortal_client(config, &mortal).await.expect("the broker is there");
            read(client, book, manner, fastrand::Rng::with_seed(seed), left).await;
        });
        Self { death, leave, task }
    }

    async fn leave(self) {
        self.leave.send_replace(true);
        self.task.await.unwrap();
    }

    async fn die(self) {
        self.death.strike();
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn read(
    client: Client,
    book: Deliveries,
    manner: Manner,
    mut rng: fastrand::Rng,
    mut left: watch::Receiver<bool>,
) {
    /// Receipts that are out at a time.
    const OUT_MAX: usize = 20;
    let auto_commit = match manner {
        Manner::Automatic | Manner::Receipts => Some(Duration::from_millis(rng.u64(20..300))),
        Manner::Explicit => None,
    };
    let options = ConsumerOptions {
        from: From::Committed,
        group: Some(readers()),
        auto_commit,
        session_timeout: SESSION,
        release_timeout: Duration::from_millis(500),
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer(&topic("bookings"), options).await.unwrap();
    let (mut life, mut out) = (Life::default(), Vec::new());
    loop {
        let next = async {
            match manner {
                Manner::Automatic | Manner::Explicit => {
                    consumer.next().await.map(|next| next.map(|event| (event, None)))
                }
                Manner::Receipts => {
                    let next = consumer.next_tracked().await;
                    next.map(|next| next.map(|(event, receipt)| (event, Some(receipt))))
                }
            }
        };
        let (event, receipt) = tokio::select! {
            next = next => next.expect("it follows").expect("no error of a member"),
            _ = left.wait_for(|left| *left) => break,
        };
        book.given(&mut life, &event);
        out.extend(receipt);
        if OUT_MAX < out.len() || rng.u32(0..8) == 0 {
            while out.len() > rng.usize(0..5) {
                out.swap_remove(rng.usize(0..out.len())).done();
            }
        }
        if matches!(manner, Manner::Explicit) && rng.u32(0..50) == 0 {
            commit(&mut consumer).await;
        }
    }
    out.into_iter().for_each(|receipt| receipt.done());
    commit(&mut consumer).await;
    consumer.close().await.or_else(fenced).unwrap();
    client.close().await;
}

/// What became another's meanwhile is for that one to commit.
fn fenced(error: weir_client::ClientError) -> Result<(), weir_client::ClientError> {
    match &error {
        weir_client::ClientError::Fault(fault) if fault.code == Code::MemberFenced => Ok(()),
        _ => Err(error),
    }
}

async fn commit(consumer: &mut weir_client::Consumer) {
    consumer.commit().await.or_else(fenced).unwrap();
}

/// Publishes events of all keys in turn until told to stop; gives where each partition ends.
async fn publish(client: Client, mut stop: watch::Receiver<bool>) -> BTreeMap<PartitionId, u64> {
    const PORTION: u64 = 50;
    let producer = client.producer(&topic("bookings"), ProducerOptions::default()).await.unwrap();
    let (mut beat, mut deliveries) = (interval(Duration::from_millis(25)), Vec::new());
    let mut number = 0;
    while !*stop.borrow_and_update() {
        beat.tick().await;
        for _ in 0..PORTION {
            let (key, value) = (format!("k{}", number % KEYS), (number / KEYS).to_string());
            let (key, value) = (Some(key.into()), Some(value.into()));
            let event = Event { key, value, ..Event::default() };
            deliveries.push(producer.send(event).await.unwrap());
            number += 1;
        }
    }
    let mut ends = BTreeMap::new();
    for delivery in deliveries {
        let outcome = delivery.await.unwrap();
        let end = ends.entry(outcome.partition).or_insert(0);
        *end = (*end).max(outcome.offset.expect("nothing judges here").0 + 1);
    }
    producer.close().await;
    ends
}

/// Looks what is committed, again and again.
async fn watch_commits(client: Client, book: Deliveries) {
    loop {
        if let Ok(found) = client.committed_offsets(&readers(), &topic("bookings")).await {
            book.book().committed(found);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn round(row: &mut Row, rng: &mut fastrand::Rng, partitions: u32, members_max: usize) {
    let broker = Broker::start();
    let client = connect(&broker.context()).await;
    let config = ClientConfig::from_context(broker.context()).unwrap();
    let admin: Admin = client.admin().unwrap();
    create_topic(&admin, "bookings", partitions, Default::default()).await;
    let book = Deliveries::new();
    let (stop, stopped) = watch::channel(false);
    let publishing = tokio::spawn(publish(client.clone(), stopped));
    let watching = tokio::spawn(watch_commits(client.clone(), book.clone()));

    let mut members: Vec<Member> = Vec::new();
    for _ in 0..sized(30, 200) {
        match rng.u32(0..6) {
            0 if members.len() > 1 => {
                members.swap_remove(rng.usize(0..members.len())).leave().await;
                row.count("left", 1);
            }
            1 if members.len() > 1 => {
                members.swap_remove(rng.usize(0..members.len())).die().await;
                row.count("died", 1);
            }
            _ if members.len() < members_max => {
                let manner = [Manner::Automatic, Manner::Receipts, Manner::Explicit];
                let manner = manner[rng.usize(0..manner.len())];
                members.push(Member::join(config.clone(), book.clone(), manner, rng.u64(..)));
                row.count("joined", 1);
            }
            _ => {}
        }
        sleep(Duration::from_millis(rng.u64(20..200))).await;
    }
    stop.send_replace(true);
    let ends = publishing.await.unwrap();
    let all = timeout(REST_WAIT_MAX, book.reach(&ends)).await;
    assert!(all.is_ok(), "not all was given: {:?}, {ends:?}\n{}", book.book(), broker.log());
    for member in members {
        member.leave().await;
    }
    watching.abort();
    let found = client.committed_offsets(&readers(), &topic("bookings")).await.unwrap();
    let mut book = book.book();
    book.committed(found);
    assert!(book.wrong.is_empty(), "{:#?}", book.wrong);
    for (partition, end) in &ends {
        assert_eq!(book.committed_of(*partition), *end, "who leaves commits what it has finished");
    }
    row.count("events", ends.values().sum());
    row.count("repeats", book.repeats);
    row.count("rounds", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_skipped_while_members_come_go_and_die() {
    let mut row = Row::begin("groups", "members come, go and die");
    let mut rng = row.rng();
    // One partition for all, and more than anyone reads alone.
    round(&mut row, &mut rng, 1, 4).await;
    round(&mut row, &mut rng, sized(64, 256), sized(8, 20)).await;
    while sized(false, true) && row.has_time(Duration::ZERO) {
        let (partitions, members) = (rng.u32(1..=256), rng.usize(1..=20));
        round(&mut row, &mut rng, partitions, members).await;
    }
    row.passed();
}
