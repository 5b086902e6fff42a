//! From what wasmtime says to a [`PluginFault`]: one cause and one sentence.
//!
//! Promises: a host function's own refusal keeps its cause; a text is one short line and holds
//! nothing of the host's insides.

use wasmtime::Trap;
use weir_wire::admin::Limits;

use crate::{FaultCause, PluginFault};

/// Characters of a fault's sentence at most: it travels to every publisher of a failed event.
const DETAIL_CHARS_MAX: usize = 240;

/// A fault raised by ourselves.
pub(crate) fn fault(cause: FaultCause, detail: impl Into<String>) -> PluginFault {
    PluginFault { cause, detail: detail.into() }
}

/// The fault for a call that hands over more than [`HANDOVER_BYTES_MAX`](crate::guest::HANDOVER_BYTES_MAX).
pub(crate) fn handed_over_too_much() -> PluginFault {
    let detail = "handed over more bytes at once than an event may have";
    fault(FaultCause::OutputTooLarge, detail)
}

/// What a failed call into the guest means. `refused_bytes`: memory the guest asked for and did
/// not get, which is why most languages' allocators trap a moment later.
pub(crate) fn of_call(
    error: &wasmtime::Error,
    limits: &Limits,
    wall_ms: u64,
    refused_bytes: Option<usize>,
) -> PluginFault {
    if let Some(own) = error.downcast_ref::<PluginFault>() {
        return own.clone();
    }
    let trap = error.downcast_ref::<Trap>().copied();
    match (trap, refused_bytes) {
        (Some(Trap::OutOfFuel), _) => {
            fault(FaultCause::Timeout, "used up its fuel: the work for this event is too much")
        }
        (Some(Trap::Interrupt), _) => {
            fault(FaultCause::Timeout, format!("gave no answer within {wall_ms} ms"))
        }
        (Some(Trap::StackOverflow), _) => fault(FaultCause::Stack, "recursed too deep"),
        (_, Some(bytes)) => fault(
            FaultCause::Memory,
            format!("asked for {bytes} bytes of memory, its limit is {}", limits.memory_bytes),
        ),
        // wasmtime has no public type for this one.
        (None, None) if format!("{error:?}").contains("fuel allocated for hostcalls") => {
            handed_over_too_much()
        }
        (_, None) => fault(FaultCause::Trap, one_line(error)),
    }
}

/// The innermost reason, as one short line.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    let text = error.root_cause().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect()
}
