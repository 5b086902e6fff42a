//! The bytes of commits: stable, and safe against any others.

use bytes::Bytes;
use expect_test::{ExpectFile, expect_file};
use proptest::prelude::*;

use super::fixture::{IDENTITY, Worker, as_stored};
use super::*;

/// The commit at `position`, encoded behind nothing.
fn encoded(position: u64, commit: &Commit) -> Bytes {
    let chain = Chain::behind(IDENTITY, Position(position), commit.first_offset, Timestamp(0), 9);
    let mut out = Vec::new();
    chain.extend(commit, Position(0), &mut Encoder::default(), &mut out).unwrap();
    out.into()
}

fn hex_dump(bytes: &[u8]) -> String {
    let line = |line: &[u8]| {
        let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = line
            .iter()
            .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' })
            .collect();
        format!("{:<48}{text}\n", hex.join(" "))
    };
    bytes.chunks(16).map(line).collect()
}

#[test]
fn the_bytes_of_each_kind_are_stable() {
    let golden: [(u64, Commit, ExpectFile); 7] = [
        (
            0,
            Commit::open(Bytes::from_static(b"{\"topic\":\"flights\"}")),
            expect_file!["../../golden/commit-v1-open.txt"],
        ),
        (1, Worker::new().full_commit(), expect_file!["../../golden/commit-v1-batch.txt"]),
        (2, Worker::new().chain_change(), expect_file!["../../golden/commit-v1-chain.txt"]),
        (3, Worker::new().commit(&[], 0), expect_file!["../../golden/commit-v1-mark.txt"]),
        (
            4,
            Commit { kind: Kind::Snapshot, ..Worker::new().commit(&[], 0) },
            expect_file!["../../golden/commit-v1-snapshot.txt"],
        ),
        (5, Worker::new().migration(), expect_file!["../../golden/commit-v2-migration.txt"]),
        (6, Worker::new().transformed(), expect_file!["../../golden/commit-v3-consumed.txt"]),
    ];
    for (position, commit, golden) in golden {
        let bytes = encoded(position, &commit);
        golden.assert_eq(&hex_dump(&bytes));
        let again = Envelope::parse(&bytes).unwrap().open().unwrap();
        assert_eq!(again, as_stored(Position(position), &commit));
    }
}

#[test]
fn a_commit_cut_off_anywhere_is_short_and_says_how_much_it_needs() {
    let bytes = encoded(1, &Worker::new().full_commit());
    for cut in 0..bytes.len() {
        let Err(Unreadable::Short { needed }) = Envelope::parse(&bytes.slice(..cut)) else {
            panic!("read although cut at {cut}")
        };
        assert!(cut < needed && needed <= bytes.len(), "{needed} at {cut}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let good = encoded(1, &Worker::new().full_commit());
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Envelope::parse(&bad.into()).is_err(), "bit {bit}");
    }
}

#[test]
fn zeros_and_ones_are_no_commit() {
    for fill in [0x00, 0xFF] {
        for length in [61, 200, 4096] {
            let parsed = Envelope::parse(&vec![fill; length].into());
            assert!(matches!(parsed, Err(Unreadable::Invalid(_))), "{parsed:?}");
        }
    }
}

#[test]
fn data_that_does_not_fit_its_commit_is_not_written() {
    let commit = Worker::new().commit(&[1, 2], 10);
    let data = commit.data.clone();
    let cut = data.slice(..data.len() - 1);
    let twice = Bytes::from([&data[..], &data[..]].concat());
    for (events, data) in
        [(1, data), (2, cut), (2, twice), (0, commit.data.clone()), (2, Bytes::new())]
    {
        let chain = Chain::behind(IDENTITY, Position(1), Offset(0), Timestamp(0), 9);
        let mut out = vec![7];
        let wrong = Commit { events, data, ..commit.clone() };
        let answer = chain.extend(&wrong, Position(0), &mut Encoder::default(), &mut out);
        assert!(answer.is_err(), "{events} events");
        assert_eq!(out, [7]);
    }
}

fn any_state_change() -> impl Strategy<Value = StateChange> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let value = (bytes(), proptest::option::of(any::<u64>())).prop_map(|(bytes, expires_at)| {
        StateValue { bytes, expires_at: expires_at.map(Timestamp) }
    });
    let place = "[a-c](/(weeks)?@[1-9])?";
    (place, bytes(), proptest::option::of(value)).prop_map(|(place, key, value)| {
        let (plugin, keyspace) = Keyspace::parse_with_plugin(&place).unwrap();
        StateChange { plugin, keyspace, key, value }
    })
}

fn any_side_event() -> impl Strategy<Value = SideEvent> {
    let bytes = || {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from))
    };
    let header = ("\\PC{0,5}", bytes())
        .prop_map(|(name, value)| weir_wire::record_batch::Header { name, value });
    let event = (any::<u64>(), bytes(), bytes(), proptest::collection::vec(header, 0..3)).prop_map(
        |(timestamp, key, value, headers)| Event {
            timestamp: Timestamp(timestamp),
            key,
            value,
            headers,
        },
    );
    (any::<u64>(), "[a-c]", "[a-c]", any::<u8>(), event).prop_map(
        |(ordinal, plugin, topic, hops, event)| SideEvent {
            ordinal,
            plugin: PluginName::parse(&plugin).unwrap(),
            topic: TopicName::parse(&topic).unwrap(),
            hops,
            event,
        },
    )
}

proptest! {
    #[test]
    fn commits_round_trip(
        state in proptest::collection::vec(any_state_change(), 0..8),
        outbox in proptest::collection::vec(any_side_event(), 0..8),
        timestamps in proptest::collection::vec(any::<u32>().prop_map(u64::from), 0..5),
        position in 1..u64::MAX,
        relayed: u64,
    ) {
        let mut worker = Worker::new();
        let commit =
            Commit { state: state.into_iter().collect(), outbox, relayed, ..worker.commit(&timestamps, 5) };
        let bytes = encoded(position, &commit);
        let again = Envelope::parse(&bytes).unwrap().open().unwrap();
        prop_assert_eq!(again, as_stored(Position(position), &commit));
    }

    #[test]
    fn a_walk_along_state_changes_is_them_one_by_one(
        changes in proptest::collection::vec(any_state_change(), 0..8),
    ) {
        let packed: StateChanges = changes.iter().cloned().collect();
        prop_assert_eq!(packed.len() as usize, changes.len());
        prop_assert_eq!(packed.iter().collect::<Vec<_>>(), changes);
    }

    #[test]
    fn keyspaces_are_never_read_in_a_commit_of_version_1(cut in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        sections::push_sections(&mut out, &Worker::new().migration());
        prop_assert!(sections::read_sections(1, out.clone().into()).is_err());
        out.truncate(cut.index(out.len()) + 1);
        let _ = sections::read_sections(2, out.into());
    }

    #[test]
    fn what_was_consumed_is_never_read_in_a_commit_of_version_2(cut in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        sections::push_sections(&mut out, &Worker::new().transformed());
        prop_assert!(sections::read_sections(2, out.clone().into()).is_err());
        out.truncate(cut.index(out.len()) + 1);
        let _ = sections::read_sections(3, out.into());
    }

    #[test]
    fn any_sections_are_answered_without_a_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        // Behind the checksum, which hides the sections from other damage.
        for whole in [Worker::new().full_commit(), Worker::new().transformed()] {
            let mut out = Vec::new();
            sections::push_sections(&mut out, &whole);
            for (at, byte) in &damage {
                *at.get_mut(&mut out) = *byte;
            }
            out.truncate(cut.index(out.len()) + 1);
            let _ = sections::read_sections(3, out.into());
        }
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Envelope::parse(&bytes.clone().into()).is_err());
        let _ = sections::read_sections(3, bytes.into());
    }

    #[test]
    fn any_damage_with_a_right_checksum_is_answered_without_a_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(1, &Worker::new().full_commit()).to_vec();
        let control_bytes = 12 + u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        for (at, byte) in damage {
            *at.get_mut(&mut bytes[61..control_bytes]) = byte;
        }
        let crc = crc32c::crc32c(&bytes[21..control_bytes]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        if let Ok(envelope) = Envelope::parse(&bytes.into()) {
            let _ = envelope.open();
        }
    }
}
