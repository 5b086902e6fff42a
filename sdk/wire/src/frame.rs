//! The envelope in which control frames and record batches cross a QUIC stream.
//!
//! ```text
//! | control bytes u32 | payload bytes u32 | control: protobuf | payload: raw record batches |
//!   big endian          big endian
//! ```
//!
//! Promises: a header that asks for more than the limits is refused before anything is
//! allocated. Not here: reading and writing sockets.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::fault::{Code, Fault};

/// The ALPN name of this protocol.
pub const ALPN: &[u8] = b"weir/1";
/// The version in Hello and Welcome.
pub const PROTOCOL_VERSION: u32 = 1;
/// Bytes of a QUIC packet at most, where the way carries such packets; both sides look for that (RFC 8899)
/// and begin with 1,200. Fewer and larger packets are less work per byte on loopback and in networks with
/// jumbo frames. The kernel takes 64 KiB at once and quinn hands it ten packets, so it is a tenth of that.
pub const PACKET_BYTES_MAX: u16 = 6_500;
/// Packets after which one is acknowledged, where the other side can be told so (quinn's draft of "QUIC
/// Acknowledgement Frequency"); by itself it is every second, and each costs a system call on both sides.
pub const ACK_EVERY_PACKETS: u32 = 10;
/// Where fewer packets come, the last is acknowledged after this: a window that is still small, as at a
/// connection's beginning, should not wait for the 25 ms that QUIC would.
pub const ACK_DELAY: Duration = Duration::from_millis(2);
/// Bytes of the kernel's buffers of a socket that are asked for (Linux gives what `net.core.rmem_max` and
/// `wmem_max` allow): what comes while a busy machine lets us wait some milliseconds. With its 208 KiB, packets are
/// dropped, and sent again.
pub const SOCKET_BYTES: usize = 4 << 20;
/// Bytes of the envelope's head.
pub const HEADER_BYTES: usize = 8;

/// Bytes of one record batch at most, as sent (and as decompressed, four times that).
pub const BATCH_BYTES_MAX: u32 = 4 << 20;
/// Events of one record batch at most.
pub const BATCH_EVENTS_MAX: u32 = 10_000;
/// Key, value and headers of one event at most, in bytes.
pub const EVENT_BYTES_MAX: u32 = 1 << 20;

/// What one side takes from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of the control message.
    pub control_bytes_max: u32,
    /// Bytes of the payload.
    pub payload_bytes_max: u32,
}

/// What a broker takes from a client that has not proved who it is: one Hello.
pub const HELLO_FRAME: FrameLimits =
    FrameLimits { control_bytes_max: 4 << 10, payload_bytes_max: 0 };
/// What a broker takes from a client: the largest request is a commit of offsets for 4,096 partitions.
pub const CLIENT_FRAME: FrameLimits =
    FrameLimits { control_bytes_max: 64 << 10, payload_bytes_max: BATCH_BYTES_MAX };
/// What a client takes from a broker: the largest answer is 10,000 different refusals; the largest
/// payload a chunk plus one batch that began below its limit.
pub const SERVER_FRAME: FrameLimits =
    FrameLimits { control_bytes_max: 16 << 20, payload_bytes_max: 16 << 20 };

/// The sizes a frame's head announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the control message.
    pub control_bytes: u32,
    /// Bytes of the payload.
    pub payload_bytes: u32,
}

impl FrameHeader {
    /// Reads a head, and refuses one over the limits.
    pub fn decode(head: [u8; HEADER_BYTES], limits: FrameLimits) -> Result<Self, Fault> {
        let [a, b, c, d, e, f, g, h] = head;
        let header = Self {
            control_bytes: u32::from_be_bytes([a, b, c, d]),
            payload_bytes: u32::from_be_bytes([e, f, g, h]),
        };
        for (part, bytes, bytes_max) in [
            ("control message", header.control_bytes, limits.control_bytes_max),
            ("payload", header.payload_bytes, limits.payload_bytes_max),
        ] {
            if bytes > bytes_max {
                return Err(Fault::new(
                    Code::TooLarge,
                    format!(
                        "a {part} of {bytes} bytes is over the limit of {bytes_max}; send less at a time"
                    ),
                ));
            }
        }
        Ok(header)
    }

    /// Bytes that follow the head.
    pub fn body_bytes(self) -> usize {
        self.control_bytes as usize + self.payload_bytes as usize
    }

    /// Parts a body of [`body_bytes`](Self::body_bytes) into its message and its payload.
    pub fn split<M: Message + Default>(self, mut body: Bytes) -> Result<(M, Bytes), Fault> {
        if body.len() != self.body_bytes() {
            return Err(invalid("a frame ended early"));
        }
        let control = body.split_to(self.control_bytes as usize);
        let message =
            M::decode(control).map_err(|_| invalid("a control message is not protobuf"))?;
        Ok((message, body))
    }
}

/// Head and control message of a frame whose payload of `payload_bytes` the caller sends next.
pub fn encode<M: Message>(message: &M, payload_bytes: usize) -> Bytes {
    let control_bytes = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + control_bytes);
    let size = |bytes: usize| u32::try_from(bytes).expect("limits keep every part below 4 GiB");
    frame.put_u32(size(control_bytes));
    frame.put_u32(size(payload_bytes));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

fn invalid(message: &str) -> Fault {
    Fault::new(Code::InvalidFrame, format!("{message}; is the client speaking weir/1?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;
    use proptest::prelude::*;

    #[test]
    fn frames_round_trip() {
        let hello = proto::Hello { protocol_version: 1, token: "t".into(), client: "c".into() };
        let mut bytes = encode(&hello, 3).to_vec();
        bytes.extend(b"abc");
        let header =
            FrameHeader::decode(bytes[..8].try_into().expect("8"), CLIENT_FRAME).expect("fits");
        let (again, payload): (proto::Hello, _) =
            header.split(Bytes::copy_from_slice(&bytes[8..])).expect("whole");
        assert_eq!((again, &payload[..]), (hello, &b"abc"[..]));
    }

    #[test]
    fn a_head_over_the_limits_is_refused() {
        let head = [0xFF; HEADER_BYTES];
        let fault = FrameHeader::decode(head, CLIENT_FRAME).expect_err("4 GiB");
        assert_eq!(fault.code, Code::TooLarge);
    }

    proptest! {
        #[test]
        fn any_body_is_refused_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..300), cut in 0u32..300) {
            let header = FrameHeader { control_bytes: cut, payload_bytes: (body.len() as u32).saturating_sub(cut) };
            let _ = header.split::<proto::ClientFrame>(body.into());
        }
    }
}
