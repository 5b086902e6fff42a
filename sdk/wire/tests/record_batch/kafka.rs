//! The crate `kafka-protocol` reads what weir writes, and the other way round.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as KafkaCompression, Record as KafkaRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;
use weir_wire::ids::Timestamp;
use weir_wire::record_batch::{Compression, Event, Header, RecordBatch};

use super::{any_compression, any_event, built, opened};

/// Events whose headers fit the other codec, which keeps them as a map.
fn kafka_events() -> impl Strategy<Value = Vec<Event>> {
    let event = any_event().prop_map(|mut event| {
        event.headers.sort_by(|one, other| one.name.cmp(&other.name));
        event.headers.dedup_by(|one, other| one.name == other.name);
        event
    });
    proptest::collection::vec(event, 1..30)
}

fn theirs(compression: Compression) -> KafkaCompression {
    match compression {
        Compression::None => KafkaCompression::None,
        Compression::Gzip => KafkaCompression::Gzip,
        Compression::Snappy => KafkaCompression::Snappy,
        Compression::Lz4 => KafkaCompression::Lz4,
        Compression::Zstd => KafkaCompression::Zstd,
    }
}

fn to_kafka(index: usize, event: &Event) -> KafkaRecord {
    let header = |header: &Header| (StrBytes::from(header.name.clone()), header.value.clone());
    KafkaRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 7,
        producer_epoch: 3,
        timestamp_type: TimestampType::Creation,
        offset: index as i64,
        sequence: 11 + index as i32,
        timestamp: event.timestamp.0 as i64,
        key: event.key.clone(),
        value: event.value.clone(),
        headers: event.headers.iter().map(header).collect::<IndexMap<_, _>>(),
    }
}

proptest! {
    #[test]
    fn they_read_what_we_write(events in kafka_events(), compression in any_compression()) {
        let mut bytes = built(&events, compression);
        let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert_eq!(set.compression, theirs(compression));
        let expected: Vec<_> =
            events.iter().enumerate().map(|(index, event)| to_kafka(index, event)).collect();
        prop_assert_eq!(format!("{:?}", set.records), format!("{expected:?}"));
    }

    #[test]
    fn we_read_what_they_write(events in kafka_events(), compression in any_compression()) {
        let records: Vec<_> =
            events.iter().enumerate().map(|(index, event)| to_kafka(index, event)).collect();
        let options = RecordEncodeOptions { version: 2, compression: theirs(compression) };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        let bytes: Bytes = bytes.freeze();
        let again: Vec<_> = opened(&bytes).unwrap().events().collect();
        prop_assert_eq!(&again, &events);
        let header = *RecordBatch::parse(bytes).unwrap().header();
        prop_assert_eq!(header.compression, compression);
        prop_assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 3, 11));
        let max_timestamp = events.iter().map(|event| event.timestamp).max();
        prop_assert_eq!(Some(Timestamp(header.max_timestamp as u64)), max_timestamp);
    }
}
