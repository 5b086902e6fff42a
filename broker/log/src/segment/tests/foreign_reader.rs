//! A segment file read by somebody else's decoder of Kafka record batches.

use std::fs;

use kafka_protocol::records::{Record, RecordBatchDecoder};
use weir_wire::record_batch::{BatchBuilder, Compression, RecordBatch};

use super::*;
use crate::conformance::put;

#[tokio::test]
async fn a_kafka_decoder_reads_the_admitted_events_and_skips_the_rest() {
    let (folder, mut worker) = (tempfile::tempdir().unwrap(), Worker::new());
    let log =
        SegmentLog::open(&Machine::real(), folder.path(), IDENTITY, Options::default()).unwrap();
    let mut expected = Vec::new();
    for compression in Compression::ALL {
        let at = worker.position;
        let mut group =
            [worker.full_commit(), worker.chain_change(), worker.commit(&[50, 60], 500)];
        for commit in &mut group {
            if commit.events == 0 {
                continue;
            }
            let batch = RecordBatch::parse(commit.data.clone()).unwrap();
            let mut builder = BatchBuilder::default();
            for event in batch.open(&Default::default()).unwrap().events() {
                builder.push(&event.as_record());
                expected.push((expected.len() as i64, event));
            }
            commit.data = builder.finish(compression);
        }
        put(&log, at, &group).await;
    }
    let mut file = Bytes::from(fs::read(&files_ending(folder.path(), ".log")[0]).unwrap());
    let sets = RecordBatchDecoder::decode_all(&mut file).unwrap();
    let records: Vec<Record> = sets.into_iter().flat_map(|set| set.records).collect();
    let is_commit = |record: &&Record| record.control;
    let commits = records.iter().filter(is_commit).count() as u64;
    assert_eq!(Position(commits), worker.position, "one control record for each commit");
    let events: Vec<_> = records.iter().filter(|record| !record.control).collect();
    assert_eq!(events.len(), expected.len());
    for (record, (offset, event)) in events.into_iter().zip(expected) {
        assert_eq!((record.offset, record.timestamp), (offset, event.timestamp.0 as i64));
        assert_eq!((&record.key, &record.value), (&event.key, &event.value));
        assert_eq!(record.partition_leader_epoch, 0);
    }
}
