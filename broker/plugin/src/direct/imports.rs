//! What a core module imports from us: the functions of `wit/`, as the canonical ABI lowers them.
//! A function that is new there is one more line in [`define`] and one more function below; until then
//! a rule that imports it is called through the component runtime.
//!
//! Promises: each does what the function of the same name in `guest.rs` does for a component, on the
//! same [`Guest`]; none can be called while the guest allocates or frees for us.

use smallvec::SmallVec;
use wasmtime::{Caller, ImportType, Linker, Memory, Result, Trap, bail};

use super::abi::{self, Lift};
use super::{Piece, store_bytes};
use crate::bindings::weir::plugin::{context, log, outbox};
use crate::guest::Guest;
use crate::reach::Reach;

/// Bytes of a state value that are on their way into a guest without an allocation: a counter or two,
/// and what small rules keep.
const VALUE_BYTES_INLINE: usize = 64;

/// The interface of `weir:plugin` that an import is of.
pub(super) fn interface(module: &str) -> Option<&str> {
    module.strip_prefix("weir:plugin/")?.split_once('@').map(|(interface, _version)| interface)
}

/// Gives the linker what is imported. An error if there is nothing of the name.
pub(super) fn define(linker: &mut Linker<Guest>, import: &ImportType<'_>) -> Result<()> {
    let (module, name) = (import.module(), import.name());
    match (interface(module), name) {
        (Some("context"), "now") => linker.func_wrap(module, name, now),
        (Some("context"), "topic") => linker.func_wrap(module, name, topic),
        (Some("context"), "partition") => linker.func_wrap(module, name, partition),
        (Some("context"), "publisher") => linker.func_wrap(module, name, publisher),
        (Some("state"), "get") => linker.func_wrap(module, name, get),
        (Some("state"), "set") => linker.func_wrap(module, name, set),
        (Some("state"), "delete") => linker.func_wrap(module, name, delete),
        (Some("state"), "increment") => linker.func_wrap(module, name, increment),
        (Some("state"), "increment-up-to") => linker.func_wrap(module, name, increment_up_to),
        (Some("outbox"), "emit") => linker.func_wrap(module, name, emit),
        (Some("log"), "write") => linker.func_wrap(module, name, write),
        _ => bail!("there is no {module} {name}"),
    }?;
    Ok(())
}

fn now(mut caller: Caller<'_, Guest>) -> Result<u64> {
    context::Host::now(entered(&mut caller)?)
}

fn topic(mut caller: Caller<'_, Guest>, at: u32) -> Result<()> {
    let topic = context::Host::topic(entered(&mut caller)?)?;
    answer_text(caller, at, &topic)
}

fn partition(mut caller: Caller<'_, Guest>) -> Result<u32> {
    context::Host::partition(entered(&mut caller)?)
}

fn publisher(mut caller: Caller<'_, Guest>, at: u32) -> Result<()> {
    let publisher = context::Host::publisher(entered(&mut caller)?)?;
    answer_text(caller, at, &publisher)
}

fn get(mut caller: Caller<'_, Guest>, key: u32, key_len: u32, at: u32) -> Result<()> {
    let (memory, guest) = reached(&mut caller)?;
    let key = Lift::new(memory).bytes((key, key_len))?;
    let value = guest.state()?.get(key).map(SmallVec::<[u8; VALUE_BYTES_INLINE]>::from_slice);
    let memory = memory_of(&caller)?;
    abi::answer::<12>(memory.data_mut(&mut caller), at, 4)?[0] = u8::from(value.is_some());
    if let Some(value) = value {
        let value = give(&mut caller, &value)?;
        let answer = abi::answer::<12>(memory.data_mut(&mut caller), at, 4)?;
        put(answer.last_chunk_mut().expect("8 of 12 bytes"), value);
    }
    Ok(())
}

fn set(
    mut caller: Caller<'_, Guest>,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    has_ttl: u32,
    ttl_ms: u64,
) -> Result<()> {
    let (memory, guest) = reached(&mut caller)?;
    let mut lift = Lift::new(memory);
    let key = lift.bytes((key, key_len))?;
    let value = lift.bytes((value, value_len))?;
    let ttl_ms = abi::option(has_ttl, ttl_ms)?;
    Ok(guest.state()?.set(key, value.to_vec(), ttl_ms)?)
}

fn delete(mut caller: Caller<'_, Guest>, key: u32, key_len: u32) -> Result<()> {
    let (memory, guest) = reached(&mut caller)?;
    let key = Lift::new(memory).bytes((key, key_len))?;
    Ok(guest.state()?.delete(key)?)
}

fn increment(
    mut caller: Caller<'_, Guest>,
    key: u32,
    key_len: u32,
    by: i64,
    has_ttl: u32,
    ttl_ms: u64,
) -> Result<i64> {
    let (memory, guest) = reached(&mut caller)?;
    let key = Lift::new(memory).bytes((key, key_len))?;
    let ttl_ms = abi::option(has_ttl, ttl_ms)?;
    Ok(guest.state()?.increment(key, by, ttl_ms)?)
}

/// Its answer: | error? u8 | 7 | value s64 |, at a multiple of 8.
#[expect(clippy::too_many_arguments, reason = "the canonical ABI flattens lists and options")]
fn increment_up_to(
    mut caller: Caller<'_, Guest>,
    key: u32,
    key_len: u32,
    by: i64,
    most: i64,
    has_ttl: u32,
    ttl_ms: u64,
    at: u32,
) -> Result<()> {
    let (memory, guest) = reached(&mut caller)?;
    let key = Lift::new(memory).bytes((key, key_len))?;
    let ttl_ms = abi::option(has_ttl, ttl_ms)?;
    let counted = guest.state()?.increment_up_to(key, by, most, ttl_ms)?;
    let memory = memory_of(&caller)?;
    let answer = abi::answer::<16>(memory.data_mut(&mut caller), at, 8)?;
    answer[0] = u8::from(counted.is_err());
    let (Ok(value) | Err(value)) = counted;
    answer[8..].copy_from_slice(&value.to_le_bytes());
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the canonical ABI flattens an event into them")]
fn emit(
    mut caller: Caller<'_, Guest>,
    topic: u32,
    topic_len: u32,
    has_key: u32,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    headers: u32,
    headers_len: u32,
    timestamp: u64,
) -> Result<()> {
    let (memory, guest) = reached(&mut caller)?;
    let mut lift = Lift::new(memory);
    let topic = lift.text((topic, topic_len))?;
    let key = abi::option(has_key, (key, key_len))?;
    let event = lift.event(key, (value, value_len), (headers, headers_len), timestamp)?;
    outbox::Host::emit(guest, topic.to_owned(), event)
}

fn write(mut caller: Caller<'_, Guest>, level: u32, message: u32, len: u32) -> Result<()> {
    let (memory, guest) = reached(&mut caller)?;
    let level = match level {
        0 => log::Level::Debug,
        1 => log::Level::Info,
        2 => log::Level::Warn,
        3 => log::Level::Error,
        which => bail!("invalid level discriminant {which}"),
    };
    let message = Lift::new(memory).text((message, len))?;
    log::Host::write(guest, level, message.to_owned())
}

/// The host's side, if the guest may call it now.
fn entered<'a>(caller: &'a mut Caller<'_, Guest>) -> Result<&'a mut Guest> {
    let guest = caller.data_mut();
    if !guest.may_leave {
        bail!(Trap::CannotLeaveComponent);
    }
    Ok(guest)
}

/// The same, and the guest's memory.
fn reached<'a>(caller: &'a mut Caller<'_, Guest>) -> Result<(&'a [u8], &'a mut Guest)> {
    entered(caller)?;
    let (memory, guest) = memory_of(caller)?.data_and_store_mut(caller);
    Ok((memory, guest))
}

fn memory_of(caller: &Caller<'_, Guest>) -> Result<Memory> {
    Ok(reach(caller)?.memory)
}

/// An instance that runs code while it is made is not within reach yet.
fn reach<'a>(caller: &'a Caller<'_, Guest>) -> Result<&'a Reach> {
    match &caller.data().reach {
        Some(reach) => Ok(reach),
        None => bail!("called the broker before it was there as a whole"),
    }
}

/// Puts `bytes` into the guest's memory.
fn give(caller: &mut Caller<'_, Guest>, bytes: &[u8]) -> Result<Piece> {
    let reach = reach(caller)?.clone();
    store_bytes(caller, &reach, bytes)
}

fn answer_text(mut caller: Caller<'_, Guest>, at: u32, text: &str) -> Result<()> {
    let memory = memory_of(&caller)?;
    // The place is looked at before the guest is asked for more.
    abi::answer::<8>(memory.data_mut(&mut caller), at, 4)?;
    let text = give(&mut caller, text.as_bytes())?;
    put(abi::answer(memory.data_mut(&mut caller), at, 4)?, text);
    Ok(())
}

fn put(answer: &mut [u8; 8], (at, len): Piece) {
    let (place, length) = answer.split_at_mut(4);
    place.copy_from_slice(&at.to_le_bytes());
    length.copy_from_slice(&len.to_le_bytes());
}
