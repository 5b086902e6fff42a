//! Looks at a data directory while no broker runs: everything that can be verified is, and nothing
//! is changed.
//!
//! What is looked at, for every log: that segments, checksums and the chain of commits hold up to
//! the end; that folding them gives what the checkpoint says; that every side event below the mark
//! of its relay has arrived exactly once. And that the catalog's topics, components and committed
//! offsets are there, and the token, the certificate and its key are what a start would take.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use weir_log::GROUP_BYTES_MAX;
use weir_log::commit::Identity;
use weir_log::disk::RealDisk;
use weir_log::segment::{Found, OpenError, Placed, Verified, verify};
use weir_views::catalog::{CATALOG_TOPIC, CATALOG_TOPIC_ID, Catalog, CatalogChange, Topic};
use weir_views::offsets::{CommittedOffsets, OFFSETS_TOPIC, OFFSETS_TOPIC_ID, OffsetChange};
use weir_views::partition::PartitionView;
use weir_views::store::Store;
use weir_wire::ids::{CAUSE_HEADER, Offset, PartitionId, Position, TopicId};
use weir_wire::record_batch::{BatchLimits, RecordBatch};

use crate::components::ComponentStore;
use crate::home::faults_of_doors;
use crate::internal_topic::changes_in;

/// What is stored was judged when it came, and may be larger than what a publisher may send: plugins
/// replace events, and the broker writes headers into them.
const STORED: BatchLimits = BatchLimits {
    batch_bytes_max: GROUP_BYTES_MAX as usize,
    decompressed_bytes_max: 4 * GROUP_BYTES_MAX as usize,
    events_max: u32::MAX,
    event_bytes_max: usize::MAX,
};

/// What was found in a data directory.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// Every log that could be read to its end.
    pub logs: Vec<LogFindings>,
    /// What must not be, each in a sentence that says where.
    pub damage: Vec<String>,
    /// What an operator may want to know, and need not act on.
    pub notes: Vec<String>,
}

/// One log.
#[derive(Debug, Serialize)]
pub struct LogFindings {
    /// As `flights/3`.
    pub log: String,
    /// Commits.
    pub commits: u64,
    /// Events.
    pub events: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of all commits.
    pub bytes: u64,
}

/// Side events by where they came from: `flights/3` and the ordinals.
type Arrived = BTreeMap<String, BTreeSet<u64>>;

/// One partition's fold, kept until all are read.
struct Source {
    name: String,
    topic: TopicId,
    relayed: u64,
    next_ordinal: u64,
    next_offset: Offset,
    partition: PartitionId,
    /// Ordinals by target topic.
    emitted: BTreeMap<u64, String>,
}

/// Looks at everything. `progress` hears the name of each log before it is read.
pub fn check(data_dir: &Path, mut progress: impl FnMut(&str)) -> Findings {
    let mut findings = Findings::default();
    let log_dir = data_dir.join("log");
    let mut catalog = Catalog::default();
    progress(CATALOG_TOPIC);
    // What a start may begin anew: a folder in which nothing was ever done.
    let is_new = std::fs::read_dir(&log_dir).is_ok_and(|entries| entries.count() <= 1);
    let changes = internal::<CatalogChange>(
        &log_dir,
        (CATALOG_TOPIC, CATALOG_TOPIC_ID),
        is_new,
        &mut findings,
        |change| catalog.apply(&change),
    );
    let mut offsets = CommittedOffsets::default();
    progress(OFFSETS_TOPIC);
    internal::<OffsetChange>(
        &log_dir,
        (OFFSETS_TOPIC, OFFSETS_TOPIC_ID),
        changes == Some(0),
        &mut findings,
        |change| offsets.apply(&change),
    );
    let checkpoints = Checkpoints::copy_of(&data_dir.join("views"), &mut findings);
    let (mut sources, mut arrived) = (Vec::new(), Arrived::new());
    for topic in catalog.topics() {
        for partition in (0..topic.partitions).map(PartitionId) {
            progress(&format!("{}/{partition}", topic.name));
            let place = Place { log_dir: &log_dir, topic, partition };
            sources.extend(place.check(&checkpoints, &mut arrived, &mut findings));
        }
    }
    side_events(&catalog, &sources, &arrived, &mut findings);
    for committed in offsets.all() {
        let end = sources.iter().find(|source| {
            (source.topic, source.partition) == (committed.topic, committed.partition)
        });
        if let Some(end) = end.filter(|end| end.next_offset < committed.offset) {
            findings.damage.push(format!(
                "{}: group {} committed offset {}, and the log ends at {}: it lost what was read from it",
                end.name, committed.group, committed.offset, end.next_offset
            ));
        }
    }
    components(data_dir, &catalog, &mut findings);
    findings.damage.extend(faults_of_doors(data_dir).iter().map(ToString::to_string));
    strangers(&log_dir, &catalog, &mut findings);
    findings
}

/// One of the broker's own logs; gives how many changes it holds.
fn internal<T: serde::de::DeserializeOwned>(
    log_dir: &Path,
    (name, id): (&str, TopicId),
    may_be_new: bool,
    findings: &mut Findings,
    mut fold: impl FnMut(T),
) -> Option<u64> {
    let identity = Identity { topic: id, partition: PartitionId(0) };
    let mut unreadable = None;
    let verified = verify(&RealDisk, &log_dir.join(name).join("0"), identity, |found| {
        let (Found::Left(placed) | Found::Commit(placed)) = found else { return };
        let Placed { stored, .. } = placed;
        match changes_in::<T>(&stored.commit) {
            Ok(changes) => changes.into_iter().for_each(&mut fold),
            Err(fault) => {
                unreadable = Some(format!("position {}: {fault}", stored.position));
            }
        }
    });
    let damage_before = findings.damage.len();
    let verified = findings.log(name, may_be_new, verified);
    findings.damage.extend(unreadable.map(|why| format!("{name}: {why}")));
    for damage in &mut findings.damage[damage_before..] {
        damage.push_str("; this log is the broker's own, and nothing is served without it");
    }
    verified.map(|verified| verified.next_offset.0)
}

impl Findings {
    fn log(
        &mut self,
        name: &str,
        may_be_new: bool,
        verified: Result<Verified, OpenError>,
    ) -> Option<Verified> {
        match verified {
            // It was made with its first commit, before anybody knew of it.
            Ok(Verified { end: Position(0), .. }) if !may_be_new => {
                self.damage.push(format!(
                    "{name}: its only segment holds no commit, and it had one: restore the log from a copy"
                ));
                None
            }
            Ok(verified) => {
                if verified.mark_is_damaged {
                    self.notes.push(format!(
                        "{name}: its durable.mark does not verify, so nothing proves that its last commits are all there; see that it ends where it should. The next write makes the mark anew"
                    ));
                }
                if let Some(torn) = &verified.torn {
                    self.notes.push(format!(
                        "{name}: {} bytes at {} of {} are the end of a write that was interrupted and never answered; the next start cuts them off",
                        torn.bytes, torn.place, torn.path.display()
                    ));
                }
                self.logs.push(LogFindings {
                    log: name.to_owned(),
                    commits: verified.end.0 - verified.earliest.0,
                    events: verified.next_offset.0 - verified.start.0,
                    segments: verified.segments,
                    bytes: verified.bytes,
                });
                Some(verified)
            }
            Err(error) => {
                self.damage.push(format!("{name}: {error}"));
                None
            }
        }
    }
}

/// The checkpoints, in a folder that goes again: opening them where they are would write to them.
struct Checkpoints {
    store: Option<Store>,
    _copy: Option<tempfile::TempDir>,
}

impl Checkpoints {
    fn copy_of(views: &Path, findings: &mut Findings) -> Self {
        let copied = tempfile::tempdir().and_then(|copy| {
            copy_folder(views, copy.path())?;
            Ok(copy)
        });
        let opened = copied.map_err(|error| error.to_string()).and_then(|copy| {
            let store = Store::open(copy.path()).map_err(|error| error.to_string())?;
            Ok((store, copy))
        });
        match opened {
            Ok((store, copy)) => Self { store: Some(store), _copy: Some(copy) },
            Err(why) => {
                findings.notes.push(format!(
                    "{}: the checkpoints cannot be read ({why}); a start rebuilds them from the log",
                    views.display()
                ));
                Self { store: None, _copy: None }
            }
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Which partition is looked at.
struct Place<'a> {
    log_dir: &'a Path,
    topic: &'a Topic,
    partition: PartitionId,
}

impl Place<'_> {
    fn check(
        &self,
        checkpoints: &Checkpoints,
        arrived: &mut Arrived,
        findings: &mut Findings,
    ) -> Option<Source> {
        let (topic, partition) = (self.topic, self.partition);
        let name = format!("{}/{partition}", topic.name);
        let folder = topic_folder(self.log_dir, topic).join(partition.to_string());
        let identity = Identity { topic: topic.id, partition };
        let store = checkpoints.store.as_ref();
        let checkpoint = store.and_then(|store| store.partition(topic.id, partition).load());
        let saved = checkpoint.as_ref().map(|checkpoint| checkpoint.position());
        let mut resumed = checkpoint.map(|checkpoint| PartitionView::restore(Some(checkpoint)));
        let mut folded = PartitionView::restore(None);
        let (mut emitted, mut sentences) = (BTreeMap::new(), Vec::new());
        let verified = verify(&RealDisk, &folder, identity, |found| {
            let stored = match found {
                Found::Snapshot(snapshot) => {
                    // A start would drop it, too.
                    resumed.take_if(|resumed| resumed.next() < snapshot.position);
                    match PartitionView::unpack(&snapshot.view) {
                        Ok(view) => folded = view,
                        Err(error) => sentences.push(format!("{name}: {error}")),
                    }
                    return;
                }
                Found::Left(placed) => {
                    if let Err(why) = note_causes(&placed.stored.commit.data, arrived) {
                        let at = placed.stored.position;
                        sentences.push(format!("{name}: position {at}: {why}"));
                    }
                    return;
                }
                Found::Commit(placed) => placed.stored,
            };
            if stored.position != folded.next() {
                // The snapshot was no view, and that was said.
                return;
            }
            folded.apply(stored.position, &stored.commit);
            if let Some(resumed) = &mut resumed
                && stored.position >= resumed.next()
            {
                resumed.apply(stored.position, &stored.commit);
            }
            emitted.extend(
                stored.commit.outbox.iter().map(|side| (side.ordinal, side.topic.to_string())),
            );
            if let Err(why) = note_causes(&stored.commit.data, arrived) {
                sentences.push(format!("{name}: position {}: {why}", stored.position));
            }
        });
        let verified = findings.log(&name, false, verified)?;
        findings.damage.append(&mut sentences);
        match (resumed, saved) {
            (Some(_), Some(saved)) if saved > verified.end => findings.damage.push(format!(
                "{name}: the log ends at position {} and its checkpoint knows of everything below {saved}: durable commits are gone. Restore the log from a copy; if it was put back to an older state on purpose, delete views/",
                verified.end
            )),
            (Some(resumed), _) if resumed.digest() != folded.digest() => {
                findings.damage.push(format!(
                    "{name}: its checkpoint is not what its log adds up to; delete views/ before the next start"
                ));
            }
            _ => {}
        }
        Some(Source {
            name,
            topic: topic.id,
            partition,
            relayed: folded.relayed(),
            next_ordinal: folded.next_ordinal(),
            next_offset: verified.next_offset,
            emitted,
        })
    }
}

/// Takes note of the side events in a batch, by their causes.
fn note_causes(data: &bytes::Bytes, arrived: &mut Arrived) -> Result<(), String> {
    if data.is_empty() {
        return Ok(());
    }
    let batch = RecordBatch::parse(data.clone()).map_err(|error| error.to_string())?;
    let records = batch.open_stored(&STORED).map_err(|error| error.to_string())?;
    if !records.has_reserved_header() {
        return Ok(());
    }
    for event in records.events() {
        let cause = event.headers.iter().find(|header| header.name == CAUSE_HEADER);
        let Some(cause) = cause.and_then(|header| header.value.as_ref()) else { continue };
        let cause = String::from_utf8_lossy(cause);
        let parsed = cause.split_once('#').and_then(|(from, n)| Some((from, n.parse().ok()?)));
        let Some((from, ordinal)) = parsed else {
            return Err(format!("a side event of no cause: {cause}"));
        };
        if !arrived.entry(from.to_owned()).or_default().insert(ordinal) {
            return Err(format!("the side event {cause} arrived twice"));
        }
    }
    Ok(())
}

/// Every side event below the relay's mark is in its topic, and none is there that was not emitted.
fn side_events(catalog: &Catalog, sources: &[Source], arrived: &Arrived, findings: &mut Findings) {
    let is_known = |topic: &str| catalog.topics().any(|known| known.name.as_str() == topic);
    let none = BTreeSet::new();
    for source in sources {
        let there = arrived.get(&source.name).unwrap_or(&none);
        let missing = source.emitted.iter().find(|(ordinal, target)| {
            **ordinal < source.relayed && is_known(target) && !there.contains(ordinal)
        });
        if let Some((ordinal, target)) = missing {
            findings.notes.push(format!(
                "{}: side event {ordinal} is not in {target}, where it was brought: the topic refused it, or keeps it no longer, or was created again since, or lost it",
                source.name
            ));
        }
        if let Some(beyond) = there.range(source.next_ordinal..).next() {
            findings.damage.push(format!(
                "{}: its side event {beyond} is in another topic, and the log knows of none from {} on: it lost its end, or is older than the others (a copy made while a broker ran?)",
                source.name, source.next_ordinal
            ));
        }
    }
}

fn components(data_dir: &Path, catalog: &Catalog, findings: &mut Findings) {
    let store = ComponentStore::at(data_dir.join("components"));
    for plugin in catalog.plugins() {
        for version in catalog.versions(plugin) {
            if let Err(error) = store.get(&version.digest) {
                findings.damage.push(format!("plugin {plugin}@{}: {error}", version.version));
            }
        }
    }
}

/// Folders that no topic of the catalog has.
fn strangers(log_dir: &Path, catalog: &Catalog, findings: &mut Findings) {
    let mut known: BTreeSet<PathBuf> =
        catalog.topics().map(|topic| topic_folder(log_dir, topic)).collect();
    known.extend([CATALOG_TOPIC, OFFSETS_TOPIC].map(|name| log_dir.join(name)));
    for entry in std::fs::read_dir(log_dir).into_iter().flatten().flatten() {
        if !known.contains(&entry.path()) {
            findings.notes.push(format!(
                "{} is of no topic in the catalog; the broker leaves it alone",
                entry.path().display()
            ));
        }
    }
}

fn topic_folder(log_dir: &Path, topic: &Topic) -> PathBuf {
    log_dir.join(format!("{}-{}", topic.name, topic.id))
}

/// The folder and identity of a log by its name (`flights/3`, `__catalog/0`), as the catalog in
/// `data_dir` has it.
pub fn find_log(data_dir: &Path, name: &str) -> Result<(PathBuf, Identity), String> {
    let (topic, partition) = name.rsplit_once('/').unwrap_or((name, "0"));
    let partition: u32 = partition
        .parse()
        .map_err(|_| format!("{name}: write a log as TOPIC/PARTITION, as flights/0"))?;
    let log_dir = data_dir.join("log");
    let at = |folder: PathBuf, topic| {
        let identity = Identity { topic, partition: PartitionId(partition) };
        Ok((folder.join(partition.to_string()), identity))
    };
    match topic {
        CATALOG_TOPIC => return at(log_dir.join(topic), CATALOG_TOPIC_ID),
        OFFSETS_TOPIC => return at(log_dir.join(topic), OFFSETS_TOPIC_ID),
        _ => {}
    }
    let (mut catalog, mut findings) = (Catalog::default(), Findings::default());
    let named = (CATALOG_TOPIC, CATALOG_TOPIC_ID);
    internal::<CatalogChange>(&log_dir, named, true, &mut findings, |change| {
        catalog.apply(&change);
    });
    let found = catalog.topics().find(|known| known.name.as_str() == topic);
    match (found, findings.damage.pop()) {
        (Some(found), _) => at(topic_folder(&log_dir, found), found.id),
        (None, Some(damage)) => Err(damage),
        (None, None) => {
            let names: Vec<_> = catalog.topics().map(|topic| topic.name.to_string()).collect();
            Err(format!("there is no topic {topic}; there are: {}", names.join(", ")))
        }
    }
}
