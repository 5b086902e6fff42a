//! Lines for the rule's operator, at most 4 KiB of them for one event.

use crate::host;

pub use crate::bindings::weir::plugin::log::Level;

/// Writes one line.
pub fn write(level: Level, message: &str) {
    host::log::write(level, message);
}

/// For whoever looks for a defect.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something is odd; nothing was lost.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Someone must act.
pub fn error(message: &str) {
    write(Level::Error, message);
}
