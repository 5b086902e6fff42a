//! A component as a file, for the commands that take one.

use std::path::Path;

use super::Failure;

/// Bytes of a component at most: the broker's limit, looked at before it is read.
const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// Reads it.
pub fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(format!("cannot read {}: {error}; check the path", file.display()))
    };
    let bytes = std::fs::metadata(file).map_err(unreadable)?.len();
    if COMPONENT_BYTES_MAX < bytes {
        return Err(Failure::new(format!(
            "{} has {bytes} bytes; a component has at most {COMPONENT_BYTES_MAX}",
            file.display()
        )));
    }
    std::fs::read(file).map_err(unreadable)
}
