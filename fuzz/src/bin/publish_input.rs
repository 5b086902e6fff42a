//! What `weir publish` reads: lines, JSON pointers, keys and timestamps.
#![no_main]

/// The broker's own files: its crate would bring wasmtime along.
#[allow(dead_code, reason = "the command line uses the rest")]
#[path = "../../../broker/src/cli/input"]
mod input {
    #[path = "event_line.rs"]
    pub mod event_line;
    #[path = "lines.rs"]
    pub mod lines;
    #[path = "pointer.rs"]
    pub mod pointer;
}

use input::event_line::{Format, LineRule};
use input::lines::{LineError, Lines};
use input::pointer::{self, Pointer};
use libfuzzer_sys::fuzz_target;
use weir_fuzz::bounded;
use weir_wire::frame::EVENT_BYTES_MAX;
use weir_wire::ids::Timestamp;

// The first two lines: the pointers of key and timestamp; without a slash there is none.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (Some(key), Some(timestamp), Some(lines)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    bounded(|| {
        let (key, timestamp) = (read_pointer(key), read_pointer(timestamp));
        read(&LineRule { format: Format::Jsonl, key, timestamp }, lines);
        read(&LineRule { format: Format::Raw, key: None, timestamp: None }, lines);
    });
});

fn read_pointer(text: &[u8]) -> Option<Pointer> {
    let text = str::from_utf8(text).ok().filter(|text| !text.is_empty())?;
    let pointer: Pointer = text.parse().ok()?;
    assert_eq!(pointer.to_string(), text);
    Some(pointer)
}

fn read(rule: &LineRule, input: &[u8]) {
    let mut lines = Lines::new(input, rule.format);
    let mut before = 0;
    loop {
        match lines.next() {
            Ok(Some((number, line))) => {
                assert!(before < number, "lines are counted");
                before = number;
                match rule.parse(line, Timestamp(99)) {
                    Ok(parsed) => {
                        assert_eq!(
                            parsed.event.value.as_deref(),
                            Some(line),
                            "the value is the line"
                        );
                        let bytes = parsed.event.as_record().payload_bytes();
                        assert!(bytes <= EVENT_BYTES_MAX as usize, "an event of {bytes} bytes");
                        assert!(i64::try_from(parsed.event.timestamp.0).is_ok());
                    }
                    Err(sentence) => assert!(!sentence.contains('\n'), "two lines: {sentence:?}"),
                }
                pointer::fields(&String::from_utf8_lossy(line));
            }
            Ok(None) => return,
            Err(LineError::Bad { number, .. }) => return assert!(before < number),
            Err(LineError::Io(error)) => panic!("memory is always read: {error}"),
        }
    }
}
