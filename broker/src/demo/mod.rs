//! `weir demo`: the story of weir on real events, from an empty folder to a mail, in one process.
//!
//! ```text
//! flights ═▶ producer ═▶ broker: daily-limit ─▶ log ═▶ consumer reads everything back
//!              ▲ verdicts              └ notices ═▶ mailer ═▶ SMTP server on loopback
//!              └── half way the limit is swapped from 2 to 3, and nobody stops
//! ```
//! Promises: everything is real (QUIC, a component, a log on disk, SMTP) and on loopback; every
//! figure is counted, and `ledger` counts it again another way; nothing is left behind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::oneshot;
use weir_client::{Admin, AdminError, Client, ClientConfig, ClientError, ConsumerOptions, Event};
use weir_mailer::loopback::Inbox;
use weir_mailer::{
    Mailer, MailerOptions, Recipient, Security, Sink, SinkError, SinkOptions, SmtpServer,
    Undeliverable,
};
use weir_wire::admin::{
    BindingSpec, ChainChange, Durability, JudgedCounts, TopicDescription, TopicSpec,
};
use weir_wire::ids::{GroupName, InvalidId, Offset, PartitionId, PluginName, TopicName};

use self::ending::ending;
use self::ledger::{Evidence, Rule};
use self::publishing::publish;
use self::screen::{Ink, Screen};
use crate::serve::{self, ServeError, ServeOptions};
use crate::table::{bytes, thousands};

mod publishing;
mod ending;
mod ledger;
mod flights;
mod screen;

/// The rule: this crate carries it, so that the demo needs no compiler.
const DAILY_LIMIT: &[u8] = include_bytes!("../../../plugins/daily-limit/daily-limit.wasm");
/// Partitions of the flights.
const PARTITIONS: u32 = 4;
/// Flights per aircraft and day, before and after the swap.
const LIMITS: [u64; 2] = [2, 3];
/// After this something hangs. A slow machine needs a fifth of it.
const DEMO_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at the outbox: it is empty within a few of them.
const OUTBOX_LOOK: Duration = Duration::from_millis(20);
/// Notices shown while they arrive; the others are counted.
const NOTICES_SHOWN: usize = 2;

/// Why the story did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The broker does not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The admin API says no.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The broker does not answer as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The mailer cannot begin or go on.
    #[error(transparent)]
    Mailer(#[from] SinkError),
    /// A name of the demo's own is none: a defect.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// No temporary folder, or no port.
    #[error("the demo needs a temporary folder and ports on 127.0.0.1: {0}")]
    Io(#[from] std::io::Error),
    /// A task of the demo broke.
    #[error("a part of the demo broke off: {0}")]
    Broken(String),
    /// It takes too long.
    #[error("the demo did not end within {} s; is the machine very busy?", DEMO_TIMEOUT.as_secs())]
    Late,
    /// Ctrl-C.
    #[error("the demo was interrupted")]
    Interrupted,
    /// Figures that cannot all be true: please report it.
    #[error("the figures contradict each other: {}", .0.join("; "))]
    Contradiction(Vec<String>),
}

/// Tells the story on stdout, or with `only_figures` its figures as one line of JSON.
pub async fn run(only_figures: bool) -> Result<(), DemoError> {
    let screen = Screen::new(only_figures);
    let began = Instant::now();
    let evidence = tokio::select! {
        told = tokio::time::timeout(DEMO_TIMEOUT, Box::pin(tell(screen))) => {
            told.map_err(|_| DemoError::Late)??
        }
        _ = tokio::signal::ctrl_c() => return Err(DemoError::Interrupted),
    };
    let figures = evidence.figures();
    screen.say(ending(&figures, LIMITS, began.elapsed()));
    let contradictions = evidence.contradictions();
    if !contradictions.is_empty() {
        return Err(DemoError::Contradiction(contradictions));
    }
    screen.say(format!(
        "{} every figure above was counted twice, by different means, and all agree.\n",
        screen.paint(Ink::Green, "✓")
    ));
    if only_figures {
        Screen::new(false).say(json!(figures).to_string());
    }
    Ok(())
}

/// What the story is about, by name.
struct Names {
    flights: TopicName,
    notices: TopicName,
    plugin: PluginName,
}

async fn tell(screen: Screen) -> Result<Evidence, DemoError> {
    let names = Names {
        flights: TopicName::parse("flights")?,
        notices: TopicName::parse("notices")?,
        plugin: PluginName::parse("daily-limit")?,
    };
    // Dropped last, on every way out: nothing is left behind.
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir()?;
    screen.say("An airline lets each aircraft leave at most twice a day. The rule is a plugin.");

    let running = serve::start(options(folder.path().join("data"))).await?;
    screen.step(
        1,
        format!("a broker at quic://{}, in {}", running.data_addr, folder.path().display()),
    );
    let client = Client::connect(ClientConfig::from_context(&running.client_toml)?).await?;
    let admin = client.admin()?;
    let first = prepare(&admin, &names, screen).await?;

    let inbox = Arc::new(Inbox::start()?);
    let (mailer, stop_mailer) = start_mailer(&client, &names, inbox.address())?;
    let shown =
        tokio::spawn(show_arrivals(client.clone(), names.notices.clone(), inbox.clone(), screen));

    let flights = flights::flights();
    screen
        .step(3, format!("publishing {} flights of January 2013", thousands(flights.len() as u64)));
    let producer = client.producer(&names.flights, Default::default()).await?;
    let swap = async {
        let change = bind(&admin, &names, LIMITS[1]).await?;
        let at: Vec<String> =
            change.since.iter().map(|at| format!("{}:{}", at.partition, at.offset)).collect();
        screen.event(
            Ink::Yellow,
            "swap",
            format!(
                "limit {} → {}, from partition:offset {} on",
                LIMITS[0],
                LIMITS[1],
                at.join(" ")
            ),
        );
        Ok(change)
    };
    let (heard, second) = publish(&producer, &flights, swap, screen).await?;
    producer.close().await;

    let topic = drained(&admin, &names.flights).await?;
    let notices: Vec<Event> = read(&client, &names.notices).await?.into_values().collect();
    screen.step(4, format!("a mail for each of {} notices", thousands(notices.len() as u64)));
    inbox.wait_for(notices.len()).await;
    drop(stop_mailer);
    let report = mailer.await.map_err(|error| DemoError::Broken(error.to_string()))??;
    let read_back = read(&client, &names.flights).await?;
    shown.abort();

    // An open admin connection is one that a stopping broker waits for.
    drop(admin);
    client.close().await;
    running.stop().await;
    let rule = |limit, change: &ChainChange| Rule { limit, revision: change.chain.revision };
    Ok(Evidence {
        flights,
        heard,
        rules: [rule(LIMITS[0], &first), rule(LIMITS[1], &second)],
        changed_at: second.since,
        counts: counts(&topic),
        read_back,
        notices,
        mails: report.delivered,
    })
}

fn options(data_dir: PathBuf) -> ServeOptions {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    ServeOptions { data_dir, listen: loopback, admin: loopback, ..ServeOptions::default() }
}

/// Topics, the plugin, and its first binding.
async fn prepare(admin: &Admin, names: &Names, screen: Screen) -> Result<ChainChange, DemoError> {
    for (name, partitions) in [(&names.flights, PARTITIONS), (&names.notices, 1)] {
        admin.create_topic(&topic(name.clone(), partitions)).await?;
    }
    let version = admin.push_plugin(&names.plugin, Bytes::from_static(DAILY_LIMIT)).await?;
    let change = bind(admin, names, LIMITS[0]).await?;
    screen.step(
        2,
        format!(
            "{}@{}, {} of WebAssembly ({}), judges topic {} in {PARTITIONS} partitions: {}",
            version.name,
            version.version,
            bytes(version.bytes),
            version.digest.short(),
            names.flights,
            config(names, LIMITS[0])
        ),
    );
    Ok(change)
}

fn topic(name: TopicName, partitions: u32) -> TopicSpec {
    let durability = Durability::Durable;
    TopicSpec { partitions, durability, ..TopicSpec::named(name) }
}

fn config(names: &Names, limit: u64) -> serde_json::Value {
    json!({ "limit": limit, "key": "event", "time": "event", "notice": names.notices })
}

async fn bind(admin: &Admin, names: &Names, limit: u64) -> Result<ChainChange, DemoError> {
    let spec = BindingSpec {
        config: Some(config(names, limit)),
        emit: vec![names.notices.clone()],
        ..BindingSpec::default()
    };
    Ok(admin.bind(&names.flights, &names.plugin, &spec).await?)
}

type MailerTask = tokio::task::JoinHandle<Result<weir_mailer::Report, SinkError>>;

/// A mailer that stops when the sender is dropped.
fn start_mailer(
    client: &Client,
    names: &Names,
    smtp: SocketAddr,
) -> Result<(MailerTask, oneshot::Sender<()>), DemoError> {
    let mailer = Mailer::new(MailerOptions {
        smtp: SmtpServer {
            host: smtp.ip().to_string(),
            port: smtp.port(),
            security: Security::Plain,
        },
        credentials: None,
        ca_file: None,
        attempt_timeout: DEMO_TIMEOUT,
        from: "weir@example.com".to_owned(),
        to: Recipient::Pattern("{{ key }}@example.com".to_owned()),
        templates: Vec::new(),
    })?;
    let sink = Sink::new(
        mailer,
        SinkOptions {
            topic: names.notices.clone(),
            group: GroupName::parse("mailer")?,
            at_once: 1,
            patience: DEMO_TIMEOUT,
            undeliverable: Undeliverable::Discard,
            until_end: false,
        },
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let client = client.clone();
    let task = tokio::spawn(async move {
        let until = async {
            let _ = stopped.await;
        };
        sink.run(&client, until).await.map(|()| sink.report())
    });
    Ok((task, stop))
}

/// Shows the first notices and the first mail as they arrive.
async fn show_arrivals(
    client: Client,
    notices: TopicName,
    inbox: Arc<Inbox>,
    screen: Screen,
) -> Result<(), ClientError> {
    let mut consumer = client.consumer(&notices, ConsumerOptions::default()).await?;
    for _ in 0..NOTICES_SHOWN {
        let Some(notice) = consumer.next().await.transpose()? else { break };
        let value = notice.event.value.unwrap_or_default();
        screen.event(Ink::Yellow, "notice", String::from_utf8_lossy(&value));
    }
    for mail in inbox.wait_for(1).await.iter().take(1) {
        let header = |name: &str| mail.header(name).unwrap_or("-").to_owned();
        screen.event(Ink::Yellow, "mail", format!("to {}: {}", header("To"), header("Subject")));
        for line in mail.body().trim_end().lines() {
            screen.event(Ink::Yellow, "", line);
        }
    }
    Ok(())
}

/// Waits until every side event of the topic is in the topic it was meant for.
async fn drained(admin: &Admin, topic: &TopicName) -> Result<TopicDescription, DemoError> {
    loop {
        let topic = admin.topic(topic).await?;
        if topic.partitions.iter().all(|partition| partition.outbox_pending == 0) {
            return Ok(topic);
        }
        tokio::time::sleep(OUTBOX_LOOK).await;
    }
}

/// Everything that is in a topic.
async fn read(
    client: &Client,
    topic: &TopicName,
) -> Result<BTreeMap<(PartitionId, Offset), Event>, DemoError> {
    let options = ConsumerOptions { until_end: true, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(topic, options).await?;
    let mut events = BTreeMap::new();
    while let Some(consumed) = consumer.next().await.transpose()? {
        events.insert((consumed.partition, consumed.offset), consumed.event);
    }
    consumer.close().await?;
    Ok(events)
}

fn counts(topic: &TopicDescription) -> JudgedCounts {
    let mut sum = JudgedCounts::default();
    for partition in &topic.partitions {
        let JudgedCounts {
            accepted,
            dropped,
            rejected,
            faulted,
            passed_open,
            aborted,
            duplicates,
            dead_letters,
            dead_letters_lost,
        } = partition.judged;
        sum.accepted += accepted;
        sum.dropped += dropped;
        sum.rejected += rejected;
        sum.faulted += faulted;
        sum.passed_open += passed_open;
        sum.aborted += aborted;
        sum.duplicates += duplicates;
        sum.dead_letters += dead_letters;
        sum.dead_letters_lost += dead_letters_lost;
    }
    sum
}
