//! Record batches against an independent codec, against bytes kept for good, and against bad bytes.

mod golden;
mod hostile;
mod kafka;
mod rules;

use bytes::Bytes;
use proptest::prelude::*;
use weir_wire::ids::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use weir_wire::record_batch::{
    BatchBuilder, BatchError, BatchLimits, Compression, Event, Header, RecordBatch, Records,
};

fn built(events: &[Event], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::default();
    for event in events {
        let bytes = builder.bytes_with(&event.as_record());
        builder.push(&event.as_record());
        assert_eq!(builder.encoded_bytes(), bytes);
    }
    builder.set_producer(ProducerId(7), ProducerEpoch(3), Sequence::new(11));
    builder.finish(compression)
}

fn opened(bytes: &Bytes) -> Result<Records, BatchError> {
    RecordBatch::parse(bytes.clone())?.open(&BatchLimits::default())
}

/// A batch with these attributes and records as its bytes, and a right length and CRC.
fn sealed(attributes: u16, records: i32, body: &[u8]) -> Bytes {
    let event = Event::default();
    let mut batch = built(&[event], Compression::None)[..61].to_vec();
    batch.extend(body);
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&(records.wrapping_sub(1)).to_be_bytes());
    batch[57..61].copy_from_slice(&records.to_be_bytes());
    reseal(batch)
}

/// The same bytes with the length and the CRC that are right for them.
fn reseal(mut batch: Vec<u8>) -> Bytes {
    let length = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

fn any_bytes(bytes_max: usize) -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..bytes_max).prop_map(Bytes::from))
}

fn any_event() -> impl Strategy<Value = Event> {
    let header = (".{0,5}", any_bytes(20)).prop_map(|(name, value)| Header { name, value });
    let headers = proptest::collection::vec(header, 0..4);
    // A year around the turn of the millennium, and the far ends.
    let timestamp = prop_oneof![0u64..4, 946_684_800_000u64..978_307_200_000, Just(1 << 50)];
    (timestamp, any_bytes(20), any_bytes(200), headers).prop_map(
        |(timestamp, key, value, headers)| Event {
            timestamp: Timestamp(timestamp),
            key,
            value,
            headers,
        },
    )
}

fn any_compression() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL)
}

proptest! {
    #[test]
    fn events_come_back_as_they_went_in(
        events in proptest::collection::vec(any_event(), 1..30),
        compression in any_compression(),
    ) {
        let bytes = built(&events, compression);
        let records = opened(&bytes).unwrap();
        prop_assert_eq!(records.len() as usize, events.len());
        prop_assert_eq!(Some(records.max_timestamp()), events.iter().map(|event| event.timestamp).max());
        for (index, (record, event)) in records.iter().zip(&events).enumerate() {
            prop_assert_eq!(record.offset_delta as usize, index);
            prop_assert_eq!(record.payload_bytes(), event.as_record().payload_bytes());
            prop_assert_eq!(record.headers.len(), event.headers.len());
            prop_assert_eq!(&record.to_event(), event);
        }
        let shared: Vec<_> = records.events().collect();
        prop_assert_eq!(shared, events);
    }
}

#[test]
fn a_builder_is_as_new_after_each_batch() {
    let first = Event { timestamp: Timestamp(9), key: Some("k".into()), ..Event::default() };
    let second = Event { timestamp: Timestamp(5), ..Event::default() };
    let mut builder = BatchBuilder::default();
    builder.set_producer(ProducerId(1), ProducerEpoch(0), Sequence::ZERO);
    builder.push(&first.as_record());
    builder.finish(Compression::None);
    assert_eq!((builder.len(), builder.encoded_bytes()), (0, 61));
    builder.push(&second.as_record());
    let again = RecordBatch::parse(builder.finish(Compression::None)).unwrap();
    assert_eq!(again.header().producer_id, -1);
    assert_eq!((again.header().base_timestamp, again.header().max_timestamp), (5, 5));
    assert_eq!(opened(again.bytes()).unwrap().iter().next().unwrap().to_event(), second);
}

#[test]
fn an_uncompressed_batch_is_not_copied() {
    let event = Event { value: Some("payload".into()), ..Event::default() };
    let bytes = built(&[event], Compression::None);
    let value = opened(&bytes).unwrap().events().next().unwrap().value.unwrap();
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn batches_in_a_row_are_taken_one_by_one_and_a_cut_one_stays() {
    let one = built(&[Event::default()], Compression::None);
    let two = built(&[Event::default(), Event::default()], Compression::Lz4);
    let mut row = Bytes::from([&one[..], &two[..], &one[..one.len() - 1]].concat());
    assert_eq!(RecordBatch::split_first(&mut row).unwrap().unwrap().bytes(), &one);
    assert_eq!(RecordBatch::split_first(&mut row).unwrap().unwrap().bytes(), &two);
    let cut_off = BatchError::Incomplete { needed: one.len(), given: one.len() - 1 };
    assert_eq!(RecordBatch::split_first(&mut row).unwrap_err(), cut_off);
    assert_eq!(row.len(), one.len() - 1);
    assert!(RecordBatch::split_first(&mut Bytes::new()).unwrap().is_none());
}

#[test]
fn a_stamp_leaves_the_checksum_right() {
    let mut bytes = built(&[Event::default()], Compression::None).to_vec();
    weir_wire::record_batch::stamp(&mut bytes, weir_wire::ids::Offset(1 << 40), 9);
    let batch = RecordBatch::parse(bytes.into()).unwrap();
    assert_eq!((batch.header().base_offset, batch.header().leader_epoch), (1 << 40, 9));
}
