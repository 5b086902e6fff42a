//! Frames: a head with its limits, a control message, verdicts and faults inside.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use weir_fuzz::bounded;
use weir_wire::fault::Fault;
use weir_wire::frame::{
    self, BATCH_EVENTS_MAX, CLIENT_FRAME, FrameHeader, FrameLimits, HEADER_BYTES, HELLO_FRAME,
    SERVER_FRAME,
};
use weir_wire::proto;
use weir_wire::verdict::Verdicts;

// One byte: whose limits. Then the head's two sizes, of which the second is made to fit.
fuzz_target!(|input: &[u8]| {
    let Some((whose, frame)) = input.split_first() else { return };
    let Some((head, body)) = frame.split_first_chunk::<HEADER_BYTES>() else { return };
    let body = Bytes::copy_from_slice(body);
    bounded(|| match whose % 3 {
        0 => drop(read::<proto::Hello>(*head, &body, HELLO_FRAME)),
        1 => drop(read::<proto::ClientFrame>(*head, &body, CLIENT_FRAME)),
        _ => {
            let Some(frame) = read::<proto::ServerFrame>(*head, &body, SERVER_FRAME) else {
                return;
            };
            look_inside(frame);
        }
    });
});

fn read<M: Message + Default + PartialEq>(
    head: [u8; HEADER_BYTES],
    body: &Bytes,
    limits: FrameLimits,
) -> Option<M> {
    let header = FrameHeader::decode(head, limits).ok()?;
    let control_bytes = header.control_bytes.min(body.len() as u32);
    let header = FrameHeader { control_bytes, payload_bytes: body.len() as u32 - control_bytes };
    let (message, payload) = header.split::<M>(body.clone()).ok()?;

    let frame = [&frame::encode(&message, payload.len()), &payload[..]].concat();
    let (head, body) = frame.split_first_chunk::<HEADER_BYTES>().expect("a head comes first");
    let header = FrameHeader::decode(*head, SERVER_FRAME).expect("what was read fits");
    let (again, _) = header.split::<M>(Bytes::copy_from_slice(body)).expect("it was encoded");
    assert!(again == message, "a message that was written is read back equal");
    Some(message)
}

fn look_inside(frame: proto::ServerFrame) {
    use proto::publish_answer::Result as Published;
    use proto::server_frame::Kind;
    match frame.kind {
        Some(Kind::Fault(fault)) => {
            let fault = Fault::from(fault);
            assert_eq!(Fault::from(proto::Fault::from(fault.clone())), fault);
        }
        Some(Kind::Publish(proto::PublishAnswer {
            result: Some(Published::Judged(proto::Judged { verdicts: Some(wire), .. })),
            ..
        })) => {
            let Ok(verdicts) = Verdicts::from_proto(wire, BATCH_EVENTS_MAX) else { return };
            assert!(verdicts.len() <= BATCH_EVENTS_MAX && verdicts.accepted() <= verdicts.len());
            let again = Verdicts::decode(&verdicts.encode(), verdicts.len());
            assert_eq!(again.as_ref(), Ok(&verdicts));
            assert_eq!(verdicts.iter().count(), verdicts.len() as usize);
        }
        _ => {}
    }
}
