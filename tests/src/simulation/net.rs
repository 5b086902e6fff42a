//! A network in memory: UDP sockets between which packets are delayed, reordered, doubled and lost
//! as a seed says.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::trace::Trace;

/// What happens to packets.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Of a thousand packets, how many are lost.
    pub lost: u32,
    /// Of a thousand packets, how many arrive twice.
    pub doubled: u32,
    /// Longest way, in microseconds; the shortest is 100.
    pub slowest_us: u64,
    /// Nothing arrives at all.
    pub is_cut: bool,
}

impl Weather {
    /// A good day on loopback.
    pub const FAIR: Self = Self { lost: 0, doubled: 0, slowest_us: 500, is_cut: false };
}

/// All clones are one network.
#[derive(Clone)]
pub struct Net(Arc<Mutex<State>>);

struct State {
    now_us: u64,
    chance: fastrand::Rng,
    weather: Weather,
    boxes: BTreeMap<SocketAddr, Mailbox>,
    /// Which life of a socket gave a connection its name (in QUIC a connection ID), by the names.
    named: BTreeMap<Vec<u8>, u64>,
    sent: u64,
    trace: Trace,
}

#[derive(Default)]
struct Mailbox {
    /// Which socket has the address now.
    life: u64,
    /// By time of arrival, then by order of sending.
    mail: BTreeMap<(u64, u64), (SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

impl Net {
    pub fn new(seed: u64, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            now_us: 0,
            chance: fastrand::Rng::with_seed(seed),
            weather: Weather::FAIR,
            boxes: BTreeMap::new(),
            named: BTreeMap::new(),
            sent: 0,
            trace,
        })))
    }

    pub fn set_weather(&self, weather: Weather) {
        self.0.lock().unwrap().weather = weather;
    }

    /// It is that late now: whoever has mail wakes up.
    pub fn advance(&self, now_us: u64) {
        let mut wakers = Vec::new();
        let mut state = self.0.lock().unwrap();
        state.now_us = now_us;
        for mailbox in state.boxes.values_mut() {
            if mailbox.mail.first_key_value().is_some_and(|((due, _), _)| *due <= now_us) {
                wakers.extend(mailbox.waker.take());
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A socket at an address; an earlier one there gets nothing any more.
    pub fn socket(&self, address: SocketAddr) -> Arc<Socket> {
        let mut state = self.0.lock().unwrap();
        let mailbox = state.boxes.entry(address).or_default();
        mailbox.life += 1;
        mailbox.mail.clear();
        mailbox.waker = None;
        Arc::new(Socket { net: self.clone(), address, life: mailbox.life })
    }
}

/// One end of the network.
#[derive(Debug)]
pub struct Socket {
    net: Net,
    address: SocketAddr,
    life: u64,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.net.0.lock().unwrap();
        let State { now_us, chance, weather, boxes, named, sent, trace } = &mut *state;
        // The bytes are encrypted with keys that no seed decides; how many they are is the same
        // every time.
        trace.note("sent", &(self.address, transmit.destination, transmit.contents.len()));
        let mut is_lost = chance.u32(0..1_000) < weather.lost || weather.is_cut;
        // A handshake does not reach a successor of the endpoint that it was for. That would throw it
        // away, some packets at once and some after an attempt to read them: what the keys make of
        // two bits decides, and no seed decides the keys.
        if let Some((destination, source)) = handshake_names(transmit.contents) {
            named.insert(source.to_vec(), self.life);
            let life = boxes.get(&transmit.destination).map(|mailbox| mailbox.life);
            is_lost |= named.get(destination).is_some_and(|named_by| Some(*named_by) != life);
        }
        let copies = if chance.u32(0..1_000) < weather.doubled { 2 } else { 1 };
        for _ in 0..copies {
            let due = *now_us + chance.u64(100..=weather.slowest_us);
            *sent += 1;
            if let Some(mailbox) = boxes.get_mut(&transmit.destination).filter(|_| !is_lost) {
                mailbox.mail.insert((due, *sent), (self.address, transmit.contents.to_vec()));
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.net.0.lock().unwrap();
        let now_us = state.now_us;
        let Some(mailbox) = state.boxes.get_mut(&self.address).filter(|it| it.life == self.life)
        else {
            return Poll::Pending;
        };
        match mailbox.mail.first_entry().filter(|first| first.key().0 <= now_us) {
            None => {
                mailbox.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(first) => {
                let (from, bytes) = first.remove();
                let length = bytes.len().min(buffers[0].len());
                buffers[0][..length].copy_from_slice(&bytes[..length]);
                meta[0] = RecvMeta::default();
                (meta[0].addr, meta[0].len, meta[0].stride) = (from, length, length);
                Poll::Ready(Ok(1))
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// The destination's and the source's connection IDs in a packet of a handshake (RFC 8999, section
/// 5.1).
///
/// ```text
/// 1... ....  version: 4  length: 1  destination  length: 1  source  …
/// ```
fn handshake_names(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = packet.split_first().filter(|(first, _)| **first & 0x80 != 0)?;
    let (_version, rest) = rest.split_at_checked(4)?;
    let (length, rest) = rest.split_first()?;
    let (destination, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first()?;
    Some((destination, rest.get(..usize::from(*length))?))
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
