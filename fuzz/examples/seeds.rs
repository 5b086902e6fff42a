//! Writes the first inputs of every target into `corpus/`: real frames, batches, segments.
//! `cargo run --example seeds`, where a format has changed; libFuzzer goes on from there.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use tokio::runtime::Builder;
use weir_log::commit::Stored;
use weir_log::commit::{
    Consumed, Identity, Kind, Produced, SideEvent, StateChange, StateChanges, StateValue,
};
use weir_log::segment::{Machine, Options, SegmentLog};
use weir_log::{Cleaning, Commit, PartitionLog, Sieve, Stretch};
use weir_views::partition::PartitionView;
use weir_wire::ids::{
    ChainRevision, GroupName, Offset, PartitionId, PluginName, Position, ProducerEpoch, ProducerId,
    ResetEpoch, Sequence, Timestamp, TopicId, TopicName,
};
use weir_wire::record_batch::{BatchBuilder, Compression, Event, Header};
use weir_wire::verdict::{Rejection, Verdict, Verdicts};
use weir_wire::{frame, proto};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds = Seeds { corpus: fuzz.join("corpus") };
    seeds.batches(&fuzz.join("../sdk/wire/golden"))?;
    let runtime = Builder::new_current_thread().build()?;
    runtime.block_on(seeds.logs())?;
    runtime.block_on(seeds.snapshots())?;
    seeds.frames()?;
    seeds.checkpoints()?;
    seeds.texts()?;
    seeds.components(&fuzz.join("../plugins/probes"))
}

/// Leaves everything but effects.
#[derive(Debug)]
struct All;

impl Sieve for All {
    fn wants(&self, _: &Stretch) -> bool {
        true
    }

    fn keep(&mut self, stored: Stored) -> Result<Option<Commit>, String> {
        Ok(Some(stored.commit))
    }
}

struct Seeds {
    corpus: PathBuf,
}

impl Seeds {
    fn put(&self, target: &str, name: &str, parts: &[&[u8]]) -> Outcome {
        let folder = self.corpus.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(format!("seed-{name}")), parts.concat())?)
    }

    fn batches(&self, golden: &Path) -> Outcome {
        for file in fs::read_dir(golden)? {
            let path = file?.path();
            if path.extension().is_some_and(|ending| ending == "bin") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                self.put("record_batch", &name, &[&fs::read(&path)?])?;
            }
        }
        for (number, compression) in Compression::ALL.into_iter().enumerate() {
            self.put(
                "record_batch",
                &format!("small-{number}"),
                &[&batch(&[5, 9, 7], compression)],
            )?;
            // Decompresses to more than is taken.
            let zeros = Event { value: Some(vec![0; 17 << 20].into()), ..Event::default() };
            let mut builder = BatchBuilder::default();
            builder.push(&zeros.as_record());
            let bomb = builder.finish(compression);
            if bomb.len() < 32 << 10 {
                self.put("record_batch", &format!("bomb-{number}"), &[&bomb])?;
            }
        }
        Ok(())
    }

    /// The head of a snapshot that names clean segments, and a small view.
    async fn snapshots(&self) -> Outcome {
        let folder = tempfile::tempdir()?;
        let identity = Identity { topic: TopicId(7), partition: PartitionId(3) };
        let options =
            Options { segment_bytes: 1_000, index_interval_bytes: 300, ..Options::default() };
        let log = SegmentLog::open(&Machine::real(), folder.path(), identity, options)?;
        for at in 1..9 {
            let data = batch(&[5, 9, 7], Compression::None);
            let first = Offset((at - 1) * 3);
            let none = Commit::empty(Kind::Batch, Timestamp(at), ChainRevision(0), first);
            let (events, max_timestamp) = (3, Timestamp(9));
            let verdicts = Verdicts::all_accepted(events);
            let commit = Commit { events, max_timestamp, verdicts, data, ..none };
            log.append(Position(at), vec![commit]).await?;
            log.tail().wait_for(|tail| Position(at) < tail.position).await?;
        }
        let mut view = PartitionView::restore(None);
        let sealed = log.stretches().into_iter().rfind(|stretch| stretch.is_sealed);
        let below = sealed.ok_or("no stretch is sealed")?.end;
        for stored in log.read(Position(0), usize::MAX).await? {
            if stored.position < below {
                view.apply(stored.position, &stored.commit);
            }
        }
        self.put("snapshot", "view", &[&view.pack().concat()])?;
        let (view, note) = (view.pack(), Bytes::from_static(b"{}"));
        let cleaning = Cleaning { below, start: Offset(0), view, note, sieve: Box::new(All) };
        log.clean(cleaning).await?;
        for file in fs::read_dir(folder.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|ending| ending == "snapshot") {
                let bytes = fs::read(&path)?;
                let count =
                    |at: usize| bytes[at..at + 4].iter().rev().fold(0, |n, b| n << 8 | *b as usize);
                let head = 80 + count(56) + count(60) * 52;
                self.put("snapshot", "head", &[&bytes[..head]])?;
            }
        }
        Ok(())
    }

    async fn logs(&self) -> Outcome {
        let folder = tempfile::tempdir()?;
        let identity = Identity { topic: TopicId(7), partition: PartitionId(3) };
        let options =
            Options { segment_bytes: 2_000, index_interval_bytes: 300, ..Options::default() };
        let log = SegmentLog::open(&Machine::real(), folder.path(), identity, options)?;
        let (mut at, mut offset, mut ordinal) = (Position(1), Offset(0), 0);
        for round in 0..6 {
            for commit in [full(offset, ordinal, round), chain(offset.plus(3), round)] {
                offset = commit.first_offset.plus(commit.events.into());
                ordinal += commit.outbox.len() as u64;
                log.append(at, vec![commit]).await?;
                at = at.next();
            }
        }
        log.close().await?;
        for file in fs::read_dir(folder.path())? {
            let path = file?.path();
            let (name, bytes) =
                (path.file_name().unwrap_or_default().to_string_lossy(), fs::read(&path)?);
            let first = name.starts_with("00000000000000000000");
            match path.extension() {
                Some(ending) if ending == "mark" => {}
                Some(ending) if ending == "index" => self.put("index", &name, &[&bytes])?,
                _ if first => {
                    self.put("segment", "sealed", &[&[0], &bytes])?;
                    self.put("segment", "plain", &[&[1], &bytes])?;
                    self.put("commit", "open", &[&bytes])?;
                }
                // Each segment begins with another commit; the first of these has everything.
                _ => self.put("commit", &name, &[&bytes])?,
            }
        }
        Ok(())
    }

    fn frames(&self) -> Outcome {
        use proto::client_frame::Kind as Client;
        use proto::server_frame::Kind as Server;
        let hello =
            proto::Hello { protocol_version: 1, token: "a5".repeat(32), client: "seed".into() };
        self.frame("hello", 0, &hello)?;
        let offsets = vec![proto::PartitionOffset { partition: 1, offset: 300 }];
        let (group, topic) = ("readers".to_owned(), "flights".to_owned());
        for (name, kind) in [
            (
                "publish",
                Client::Publish(proto::PublishRequest {
                    topic: topic.clone(),
                    consumed: Some(proto::Consumed { to_offset: 9, ..Default::default() }),
                    ..Default::default()
                }),
            ),
            (
                "subscribe",
                Client::Subscribe(proto::SubscribeRequest {
                    until_offset: Some(9),
                    filter: Some(proto::Filter { key_prefix: Some(vec![7]), ..Default::default() }),
                    ..Default::default()
                }),
            ),
            (
                "list",
                Client::ListOffsets(proto::ListOffsetsRequest {
                    partitions: vec![0, 1],
                    ..Default::default()
                }),
            ),
            (
                "commit",
                Client::CommitOffsets(proto::CommitOffsetsRequest {
                    group,
                    topic,
                    offsets: offsets.clone(),
                    member_id: Some(3),
                }),
            ),
        ] {
            self.frame(name, 1, &proto::ClientFrame { kind: Some(kind) })?;
        }
        let judged = proto::Judged { verdicts: Some((&verdicts()).into()), ..Default::default() };
        let result = Some(proto::publish_answer::Result::Judged(judged));
        let fault = proto::Fault {
            code: "overloaded".into(),
            retry_after_ms: Some(5),
            ..Default::default()
        };
        for (name, kind) in [
            ("judged", Server::Publish(proto::PublishAnswer { correlation: 1, result })),
            ("fault", Server::Fault(fault)),
            ("offsets", Server::FetchOffsets(proto::FetchOffsetsAnswer { offsets })),
        ] {
            self.frame(name, 2, &proto::ServerFrame { kind: Some(kind) })?;
        }
        Ok(())
    }

    fn frame(&self, name: &str, whose: u8, message: &impl Message) -> Outcome {
        self.put("frame", name, &[&[whose], &frame::encode(message, 3), b"abc"])
    }

    /// The rows that `broker/views/src/checkpoint.rs` draws.
    fn checkpoints(&self) -> Outcome {
        let id = 7_u64.to_be_bytes();
        let relay = (1_u64 << 62 | 7).to_be_bytes();
        let (number, small) = (|n: u64| n.to_be_bytes(), |n: u32| n.to_be_bytes());
        let head = [
            &[1][..],
            &number(5),
            &number(9),
            &number(6),
            &number(70_000),
            &number(4),
            &number(2),
            &number(4),
            b"{}",
        ];
        let batch = |first, count, offset| {
            [&small(first)[..], &small(count), &number(offset), &[1], &number(60_000)].concat()
        };
        let rows: [(Vec<u8>, Vec<u8>); 7] = [
            (vec![1], head.concat()),
            (
                [&[2, 5][..], b"limit", b"alice"].concat(),
                [&[1][..], &number(1 << 40), b"ten"].concat(),
            ),
            ([&[3][..], &id].concat(), [&[0, 1][..], &small(44), &number(60_000)].concat()),
            ([&[4][..], &id, &number(5)].concat(), batch(40, 3, 0)),
            ([&[4][..], &id, &number(6)].concat(), batch(43, 2, 3)),
            ([&[5][..], &relay].concat(), [&[0, 0][..], &small(3)].concat()),
            ([&[6][..], &number(8)].concat(), [&number(2)[..], &small(2)].concat()),
        ];
        let mut all = Vec::new();
        for (key, value) in &rows {
            all.extend([key.len() as u8, value.len() as u8]);
            all.extend(key);
            all.extend(value);
        }
        self.put("checkpoint", "rows", &[&all])
    }

    fn texts(&self) -> Outcome {
        let digest = "a5".repeat(32);
        let pushed = format!(
            r#"{{"change":"plugin-pushed","version":{{"name":"limit","version":1,"digest":"{digest}","bytes":9,"pushed_at":2}}}}"#
        );
        let limits = r#"{"fuel":1,"deadline_ms":1,"configure_ms":1,"memory_bytes":1,"side_events":1,"side_event_bytes":1,"log_bytes":1,"state_changes":1,"state_keys":1,"state_bytes":1}"#;
        let chain = format!(
            r#"{{"revision":1,"bindings":[{{"plugin":"limit","version":1,"digest":"{digest}","order":0,"config":{{"limit":10,"x":1.5}},"on_failure":"closed","emit":["notices"],"limits":{limits}}}]}}"#
        );
        let topic = |name: &str, id: u32| {
            format!(
                r#"{{"change":"topic-created","topic":{{"name":"{name}","id":{id},"partitions":2,"durability":"durable","retention_ms":null,"retention_bytes":5,"created_at":1}}}}"#
            )
        };
        let catalog = [
            topic("notices", 16),
            topic("flights", 17),
            pushed.clone(),
            format!(r#"{{"change":"chain-changed","topic":17,"chain":{chain}}}"#),
            r#"{"change":"producer-ids-reserved","up_to":1000}"#.to_owned(),
            r#"{"change":"plugin-deleted","name":"limit","version":1}"#.to_owned(),
            r#"{"change":"topic-deleted","id":17}"#.to_owned(),
        ];
        let offsets = "{\"change\":\"committed\",\"group\":\"a\",\"topic\":16,\"partition\":0,\"offset\":5}\n{\"change\":\"topic-deleted\",\"topic\":16}";
        let binding = r#"{"version":"1","order":-1,"config":{"limit":10},"on_failure":"open","emit":["notices"],"limits":{"fuel":5}}"#;
        let spec = r#"{"name":"flights","partitions":4,"durability":"os","retention_ms":1,"retention_bytes":2}"#;
        let status =
            r#"{"version":"0.1.0","topics":1,"partitions":4,"stopped":["flights/0: full"]}"#;
        let config = r#"{"limit":2,"key":"/a~1b/c","time":"event","notice":"notices"}"#;
        let change = format!(r#"{{"chain":{chain},"since":[{{"partition":0,"offset":5}}]}}"#);
        for (what, name, text) in [
            (0, "catalog", catalog.join("\n").as_str()),
            (1, "offsets", offsets),
            (2, "topic", spec),
            (3, "binding", binding),
            (4, "chain", &chain),
            (5, "change", &change),
            (8, "status", status),
            (9, "problem", r#"{"code":"fix","message":"it"}"#),
            (10, "daily-limit", config),
        ] {
            self.put("json", name, &[&[what], text.as_bytes()])?;
        }
        let flight = r#"{"tailnum":"N14228","a":{"b":[1,{"time":"2013-01-01T10:00:00Z"}]},"ms":1357034400000}"#;
        let lines = format!("{flight}\r\n{flight}\n\n");
        self.put("publish_input", "flight", &[b"/tailnum\n/ms\n", lines.as_bytes()])?;
        self.put("publish_input", "deep", &[b"/a/b/0\n/a/b/1/time\n", lines.as_bytes()])?;
        self.put("publish_input", "none", &[b"\n\n", lines.as_bytes()])
    }

    fn components(&self, probes: &Path) -> Outcome {
        for name in ["accept", "clocks", "core-module", "other-world", "wasi-http", "wrong-types"] {
            self.put("component", name, &[&fs::read(probes.join(name).with_extension("wasm"))?])?;
        }
        self.put("component", "text", &[b" (component)"])
    }
}

fn verdicts() -> Verdicts {
    let mut verdicts = Verdicts::all_accepted(3);
    verdicts.push(Verdict::Dropped { plugin: "p".into() });
    verdicts.push(Verdict::Rejected(Rejection {
        plugin: "limit".into(),
        code: "daily-limit".into(),
        message: "eleventh of ten".into(),
        retry_after_ms: Some(9),
        fault: false,
    }));
    verdicts
}

fn batch(timestamps: &[u64], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::default();
    for &timestamp in timestamps {
        let event = Event { timestamp: Timestamp(timestamp), ..event() };
        builder.push(&event.as_record());
    }
    builder.finish(compression)
}

fn event() -> Event {
    let header = Header { name: "é".to_owned(), value: Some(Bytes::from_static(b"5")) };
    let headers = vec![header, Header { name: "none".to_owned(), value: None }];
    let (key, value) = (Some(Bytes::from_static(b"alice")), Some(Bytes::from_static(b"vvvvvvvv")));
    Event { timestamp: Timestamp(9), key, value, headers }
}

fn full(first_offset: Offset, ordinal: u64, round: u32) -> Commit {
    let plugin = PluginName::parse("limit").expect("a name");
    let change = |key: &'static [u8], value| StateChange {
        keyspace: Default::default(),
        plugin: plugin.clone(),
        key: Bytes::from_static(key),
        value,
    };
    let value = |expires_at| Some(StateValue { bytes: Bytes::from_static(b"\x0b"), expires_at });
    let topic = TopicName::parse("notices").expect("a name");
    let compression = Compression::ALL[round as usize % Compression::ALL.len()];
    let first = Sequence::new(40 + round * 5);
    let time = Timestamp(1_000 + u64::from(round));
    Commit {
        events: 3,
        max_timestamp: Timestamp(900),
        producer: Some(Produced {
            id: ProducerId(77),
            epoch: ProducerEpoch(2),
            first,
            last: first.plus(4),
        }),
        relayed: ordinal,
        verdicts: verdicts(),
        state: StateChanges::from_iter([
            change(b"alice", value(None)),
            change(b"bob", value(Some(Timestamp(86_400_000)))),
            change(b"carol", None),
        ]),
        outbox: vec![SideEvent { ordinal, plugin, topic, hops: 1, event: event() }],
        consumed: Some(consumed(round)),
        data: batch(&[700, 900, 800], compression),
        ..Commit::empty(Kind::Batch, time, ChainRevision(4), first_offset)
    }
}

fn consumed(round: u32) -> Consumed {
    let to = Offset(u64::from(round) + 4);
    Consumed {
        group: GroupName::parse("counters").expect("a name"),
        topic: TopicId(16),
        partition: PartitionId(1),
        epoch: ResetEpoch(1),
        from: Offset(u64::from(round)),
        to,
    }
}

fn chain(first_offset: Offset, round: u32) -> Commit {
    let time = Timestamp(1_000 + u64::from(round));
    let note = Bytes::from_static(b"{\"chain\":5}");
    Commit { note, ..Commit::empty(Kind::Chain, time, ChainRevision(4), first_offset) }
}
