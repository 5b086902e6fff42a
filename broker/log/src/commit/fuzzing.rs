//! The door for `fuzz/`, in its builds only.

use bytes::Bytes;
use weir_wire::ids::Timestamp;
use weir_wire::record_batch::stamp;

use super::format::leader_epoch;
use super::{Encoder, Envelope};

/// Reads the commit at the beginning of `bytes`; what is one is written, and read again.
///
/// # Panics
/// If it is not the same then.
pub fn read(bytes: &Bytes) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    assert!(envelope.bytes <= bytes.len(), "a commit ends where its bytes do");
    assert_eq!(Envelope::claimed_bytes(bytes), Some(envelope.bytes));
    for at in [0, envelope.max_timestamp.0, u64::MAX] {
        let _ = envelope.offset_at(Timestamp(at));
    }
    let link = envelope.link;
    let Ok(mut stored) = envelope.open() else { return };
    let mut written = Vec::new();
    if Encoder::default().encode(&mut written, &link, &stored.commit).is_err() {
        return;
    }
    let again = Envelope::parse(&written.into()).expect("a written commit is read");
    // The writer stamps the data; what was read may have another reign's number there.
    if !stored.commit.data.is_empty() {
        let mut data = stored.commit.data.to_vec();
        stamp(&mut data, stored.commit.first_offset, leader_epoch(link.reign));
        stored.commit.data = data.into();
    }
    assert_eq!(again.link, link);
    assert_eq!(again.open().expect("whole"), stored);
}
