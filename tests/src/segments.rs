//! A partition's files, read from byte 0 by an independent decoder of Kafka's record batches.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use kafka_protocol::records::{Record, RecordBatchDecoder};

/// The events of one partition's folder; the broker's own records are control records and left out,
/// as Kafka's tools do.
pub fn read(folder: &Path) -> Vec<Record> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "log" || extension == "clean")
        })
        .collect();
    files.sort();
    let mut records = Vec::new();
    for file in files {
        let mut bytes = Bytes::from(fs::read(&file).unwrap());
        let sets = RecordBatchDecoder::decode_all(&mut bytes)
            .unwrap_or_else(|e| panic!("{} is not a row of record batches: {e}", file.display()));
        records
            .extend(sets.into_iter().flat_map(|set| set.records).filter(|record| !record.control));
    }
    records
}
