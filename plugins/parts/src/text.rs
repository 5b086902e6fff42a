//! Text of a publisher in a message for people: one line, and short.

/// What of a key or a value a message shows, in characters: a message takes 512 bytes.
pub const SHORT_CHARS: usize = 48;

/// The first [`SHORT_CHARS`] characters, with a mark where it is cut.
pub fn short(bytes: &[u8]) -> String {
    // Nearly every key: nothing to cut and nothing to replace.
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    if bytes.len() <= SHORT_CHARS
        && bytes.iter().all(is_plain)
        && let Ok(text) = str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars().map(printable);
    let mut short: String = chars.by_ref().take(SHORT_CHARS).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

/// The same text without control characters, cut to at most `bytes_max` bytes between characters.
pub fn line(text: &str, bytes_max: usize) -> String {
    const CUT: char = '…';
    let mut line: String = text.chars().map(printable).collect();
    if line.len() > bytes_max {
        let mut end = bytes_max.saturating_sub(CUT.len_utf8());
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push(CUT);
    }
    line
}

fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_in_one_short_line() {
        for (key, shown) in [
            (b"N14228".to_vec(), "N14228".to_string()),
            (vec![0xff, b'a'], "\u{fffd}a".into()),
            (b" ~".to_vec(), " ~".into()),
            (b"\x7f\x1f".to_vec(), "\u{fffd}\u{fffd}".into()),
            (b"a\nb\x1b[31m".to_vec(), "a\u{fffd}b\u{fffd}[31m".into()),
            (vec![b'x'; SHORT_CHARS], "x".repeat(SHORT_CHARS)),
            (vec![b'x'; SHORT_CHARS + 1], "x".repeat(SHORT_CHARS) + "…"),
        ] {
            assert_eq!(short(&key), shown);
        }
    }

    #[test]
    fn a_line_is_cut_between_characters_and_never_longer_than_told() {
        assert_eq!(line("abc", 3), "abc");
        assert_eq!(line("abcd\n", 5), "ab…");
        for most in 3..40 {
            let cut = line(&"ä\u{10ffff}\n".repeat(10), most);
            assert!(cut.len() <= most && cut.ends_with('…'), "{most}: {cut}");
        }
    }
}
