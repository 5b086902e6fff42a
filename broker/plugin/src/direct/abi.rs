//! How the contract's types lie in a guest's memory: the canonical ABI of the component model, for
//! what `wit/` has. Source: `design/mvp/CanonicalABI.md` of WebAssembly/component-model.
//!
//! ```text
//! list, string   | place u32 | elements, or bytes of UTF-8, u32 |                        8 B, align 4
//! header         | name 8 | value 8 |                                                   16 B, align 4
//! option<list>   | some? u8 | 3 | list 8 |                                              12 B, align 4
//! event          | key 12 | value 8 | headers 8 | 4 | timestamp u64 |                   40 B, align 8
//! rejection      | code 8 | message 8 | retry-after some? u8 | 7 | ms u64 |             32 B, align 8
//! verdict        | which u8: accept, replace, drop, reject | 7 | event or rejection |   48 B, align 8
//! result<_, text>| error? u8 | 3 | text 8 |                                             12 B, align 4
//! ```
//! Promises: any bytes, places and lengths are read or refused, never a panic; and what one call
//! hands over is bounded before anything is allocated for it.

use wasmtime::{Result, bail};

use super::Piece;
use crate::bindings::weir::plugin::types::{EventResult, HeaderResult, Rejection, Verdict};
use crate::fault::handed_over_too_much;
use crate::guest::HANDOVER_BYTES_MAX;

/// Bytes of a header in a list of them.
pub(super) const HEADER_BYTES: usize = 16;
/// How the list is aligned.
pub(super) const HEADER_ALIGN: u32 = 4;

/// A header as it lies in a list.
pub(super) fn header(name: Piece, value: Piece) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    for (field, word) in bytes.chunks_exact_mut(4).zip([name.0, name.1, value.0, value.1]) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Reads what a guest hands over in one call.
pub(super) struct Lift<'a> {
    memory: &'a [u8],
    /// Bytes that it may still hand over.
    left: usize,
}

impl<'a> Lift<'a> {
    pub(super) fn new(memory: &'a [u8]) -> Self {
        Self { memory, left: HANDOVER_BYTES_MAX }
    }

    /// A list of bytes.
    pub(super) fn bytes(&mut self, (at, len): Piece) -> Result<&'a [u8]> {
        let bytes = self.memory.get(at as usize..).and_then(|rest| rest.get(..len as usize));
        let bytes = bytes.ok_or_else(|| out_of_bounds("list"))?;
        self.hand_over(bytes.len())?;
        Ok(bytes)
    }

    /// A string.
    pub(super) fn text(&mut self, piece: Piece) -> Result<&'a str> {
        Ok(str::from_utf8(self.bytes(piece)?)?)
    }

    /// The answer of a function that gives a string.
    pub(super) fn text_at(&mut self, at: u32) -> Result<&'a str> {
        let record = self.record::<8>(at, 4)?;
        self.text(piece(record, 0))
    }

    /// The answer of a function that gives nothing or a sentence why not.
    pub(super) fn result(&mut self, at: u32) -> Result<Result<(), String>> {
        let record = self.record::<12>(at, 4)?;
        Ok(match record[0] {
            0 => Ok(()),
            1 => Err(self.text(piece(record, 4))?.to_owned()),
            which => bail!("invalid result discriminant {which}"),
        })
    }

    /// The answer of `process`.
    pub(super) fn verdict(&mut self, at: u32) -> Result<Verdict> {
        let record = self.record::<48>(at, 8)?;
        Ok(match record[0] {
            0 => Verdict::Accept,
            1 => {
                let key = option(u32::from(record[8]), piece(record, 12))?;
                let [value, headers] = [20, 28].map(|at| piece(record, at));
                Verdict::Replace(self.event(key, value, headers, long(record, 40))?)
            }
            2 => Verdict::Drop,
            3 => Verdict::Reject(Rejection {
                code: self.text(piece(record, 8))?.to_owned(),
                message: self.text(piece(record, 16))?.to_owned(),
                retry_after_ms: option(u32::from(record[24]), long(record, 32))?,
            }),
            which => bail!("invalid verdict discriminant {which}"),
        })
    }

    /// An event, of which the fields are given.
    pub(super) fn event(
        &mut self,
        key: Option<Piece>,
        value: Piece,
        headers: Piece,
        timestamp: u64,
    ) -> Result<EventResult> {
        Ok(EventResult {
            key: key.map(|key| self.bytes(key)).transpose()?.map(<[u8]>::to_vec),
            value: self.bytes(value)?.to_vec(),
            headers: self.headers(headers)?,
            timestamp,
        })
    }

    fn headers(&mut self, (at, count): Piece) -> Result<Vec<HeaderResult>> {
        if !at.is_multiple_of(HEADER_ALIGN) {
            bail!("list pointer is not aligned");
        }
        let list = (count as usize)
            .checked_mul(HEADER_BYTES)
            .and_then(|bytes| self.memory.get(at as usize..)?.get(..bytes))
            .ok_or_else(|| out_of_bounds("list"))?;
        self.hand_over(count as usize * size_of::<HeaderResult>())?;
        let mut headers = Vec::with_capacity(count as usize);
        for header in list.as_chunks::<HEADER_BYTES>().0 {
            headers.push(HeaderResult {
                name: self.text(piece(header, 0))?.to_owned(),
                value: self.bytes(piece(header, 8))?.to_vec(),
            });
        }
        Ok(headers)
    }

    /// The record at a place.
    fn record<const BYTES: usize>(&self, at: u32, align: u32) -> Result<&'a [u8; BYTES]> {
        if !at.is_multiple_of(align) {
            bail!("return pointer not aligned");
        }
        let record = self.memory.get(at as usize..).and_then(<[u8]>::first_chunk);
        record.ok_or_else(|| out_of_bounds("return"))
    }

    fn hand_over(&mut self, bytes: usize) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(handed_over_too_much().into()),
        }
    }
}

/// Where a function of ours is to put its answer of `BYTES` bytes.
pub(super) fn answer<const BYTES: usize>(
    memory: &mut [u8],
    at: u32,
    align: u32,
) -> Result<&mut [u8; BYTES]> {
    if !at.is_multiple_of(align) {
        bail!("pointer not aligned");
    }
    let place = memory.get_mut(at as usize..).and_then(|rest| rest.first_chunk_mut());
    place.ok_or_else(|| out_of_bounds("return"))
}

/// What is optional, as it is passed: whether it is there, and what it is.
pub(super) fn option<T>(is_some: u32, value: T) -> Result<Option<T>> {
    match is_some {
        0 => Ok(None),
        1 => Ok(Some(value)),
        which => bail!("invalid option discriminant {which}"),
    }
}

fn out_of_bounds(what: &str) -> wasmtime::Error {
    wasmtime::format_err!("{what} pointer/length out of bounds of memory")
}

/// The list or string in a record.
fn piece(record: &[u8], at: usize) -> Piece {
    let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
    (word(at), word(at + 4))
}

/// The u64 in a record.
fn long(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(record[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever a guest's memory holds and wherever it points, it is read or refused.
        #[test]
        fn any_bytes_are_read_or_refused(
            memory in proptest::collection::vec(prop_oneof![Just(0_u8), 0..8_u8, any::<u8>()], 0..256),
            at in prop_oneof![0..300_u32, any::<u32>()],
            len in prop_oneof![0..300_u32, any::<u32>()],
        ) {
            let lift = || Lift::new(&memory);
            let _ = lift().verdict(at);
            let _ = lift().result(at);
            let _ = lift().text_at(at);
            let _ = lift().event(Some((at, len)), (len, at), (at, len), 0);
            let _ = super::answer::<12>(&mut memory.clone(), at, 4);
        }
    }

    #[test]
    fn a_whole_verdict_is_read_as_it_was_written() {
        let mut memory = vec![0; 128];
        memory[8] = 1;
        memory[16] = 1;
        for (at, word) in [(20, 100_u32), (24, 3), (28, 103), (32, 2), (36, 64), (40, 1)] {
            memory[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        memory[48..56].copy_from_slice(&77_u64.to_le_bytes());
        memory[64..80].copy_from_slice(&header((105, 2), (107, 4)));
        memory[100..111].copy_from_slice(b"keyvainame ");
        let Ok(Verdict::Replace(event)) = Lift::new(&memory).verdict(8) else {
            panic!("a replacement")
        };
        assert_eq!(
            (event.key.as_deref(), &event.value[..], event.timestamp),
            (Some(&b"key"[..]), &b"va"[..], 77)
        );
        assert_eq!(
            (event.headers[0].name.as_str(), &event.headers[0].value[..]),
            ("in", &b"ame "[..])
        );
    }
}
