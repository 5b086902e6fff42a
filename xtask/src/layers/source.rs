//! Rust source as a row of words, as far as the layer rules need it.
//!
//! Promises: comments, strings, characters and everything under `#[cfg(test)]` are gone; each word
//! knows its line. Not here on purpose: a parser. A rule that needs one is too clever to be kept.

/// An identifier, `::`, or one character of punctuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// From 1.
    pub line: usize,
    /// The text.
    pub text: String,
}

/// The words of a source file, without its tests.
pub fn words(source: &str) -> Vec<Word> {
    without_tests(all_words(source))
}

fn all_words(source: &str) -> Vec<Word> {
    let chars: Vec<char> = source.chars().collect();
    let mut words = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(&c) = chars.get(at) {
        let end = match c {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => string_end(&chars, at),
            '\'' => character_end(&chars, at),
            'r' | 'b' | 'c' => match raw_string_end(&chars, at) {
                Some(end) => end,
                None => identifier_end(&chars, at),
            },
            _ if is_identifier(c) => identifier_end(&chars, at),
            ':' if chars.get(at + 1) == Some(&':') => at + 2,
            _ => at + 1,
        };
        let text: String = chars[at..end].iter().collect();
        let is_word = is_identifier(c) && !text.contains('"');
        if is_word || (c.is_ascii_punctuation() && (text == "::" || text.len() == 1)) {
            words.push(Word { line, text: text.clone() });
        }
        line += text.matches('\n').count();
        at = end;
    }
    words
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn identifier_end(chars: &[char], from: usize) -> usize {
    from + chars[from..].iter().take_while(|c| is_identifier(**c)).count()
}

fn line_end(chars: &[char], from: usize) -> usize {
    from + chars[from..].iter().take_while(|c| **c != '\n').count()
}

/// Block comments nest.
fn block_comment_end(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from + 2, 1);
    while depth > 0 && at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `'x'` and `'\n'` are characters; `'a` in `&'a str` is a lifetime and ends at once.
fn character_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => {
            let past_escape = (from + 3).min(chars.len());
            let rest = chars[past_escape..].iter().take_while(|c| **c != '\'').count();
            (past_escape + rest + 1).min(chars.len())
        }
        (Some(_), Some('\'')) => from + 3,
        _ => from + 1,
    }
}

/// `r"…"`, `r#"…"#`, `br"…"`, `b"…"`, `c"…"`; `None` where it is a name that begins so.
fn raw_string_end(chars: &[char], from: usize) -> Option<usize> {
    let prefix = chars[from..].iter().take_while(|c| "brc".contains(**c)).count();
    let hashes = chars[from + prefix..].iter().take_while(|c| **c == '#').count();
    let quote = from + prefix + hashes;
    if prefix > 2 || chars.get(quote) != Some(&'"') {
        return None;
    }
    if !chars[from..from + prefix].contains(&'r') {
        return Some(string_end(chars, quote));
    }
    let closes = |at: usize| {
        chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let end = (quote + 1..chars.len()).find(|&at| closes(at));
    Some(end.map_or(chars.len(), |at| at + 1 + hashes))
}

fn without_tests(words: Vec<Word>) -> Vec<Word> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        let is_mark = MARK
            .iter()
            .enumerate()
            .all(|(n, text)| words.get(at + n).is_some_and(|w| w.text == *text));
        if is_mark {
            at = item_end(&words, at + MARK.len());
        } else {
            kept.push(words[at].clone());
            at += 1;
        }
    }
    kept
}

/// Behind the item that begins at `from`: its `;`, or the `}` of its body.
fn item_end(words: &[Word], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, word) in words.iter().enumerate().skip(from) {
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    words.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let texts: Vec<String> = words(source).into_iter().map(|word| word.text).collect();
        assert_eq!(texts.join(" "), expected, "{source}");
    }

    #[test]
    fn only_code_is_left() {
        check("use a::b; // c::d", "use a :: b ;");
        check("/* x /* y */ z */ f()", "f ( )");
        check(r#"let s = "sled::open \" quoted"; g"#, "let s = ; g");
        check(r###"let s = r#"a "quote" b"#; let b = b"x"; g"###, "let s = ; let b = ; g");
        check(
            r"let c = '\''; let d = 'x'; fn f<'a>(b: &'a str)",
            "let c = ; let d = ; fn f < ' a > ( b : & ' a str )",
        );
        check("brick r_1 crate", "brick r_1 crate");
    }

    #[test]
    fn tests_are_gone() {
        check(
            "fn a() {} #[cfg(test)] mod tests { fn b() { c } } fn d() {}",
            "fn a ( ) { } fn d ( ) { }",
        );
        check("#[cfg(test)] mod probe; mod real;", "mod real ;");
        check("#[cfg(test)] #[allow(x)] fn only([u8; 3]) { } fn d", "fn d");
    }

    #[test]
    fn words_know_their_lines() {
        let lines: Vec<usize> =
            words("a\n/* \n */ b\n\"x\ny\" c").iter().map(|word| word.line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }
}
