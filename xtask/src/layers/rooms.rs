//! One room per heavy guest: where each of them may be named.

use super::source::Word;

/// A guest, the part of the tree in which the rule holds, and its rooms there.
struct Guest {
    crates: &'static [&'static str],
    within: &'static str,
    rooms: &'static [&'static str],
}

/// Paths are prefixes, from the workspace's root.
const GUESTS: &[Guest] = &[
    Guest { crates: &["wasmtime", "wasmtime_wasi"], within: "", rooms: &["broker/plugin/src/"] },
    Guest { crates: &["sled"], within: "", rooms: &["broker/views/src/store.rs"] },
    Guest {
        crates: &["quinn"],
        within: "",
        rooms: &[
            "broker/src/listen.rs",
            "broker/src/session/",
            "sdk/client/src/link.rs",
            "sdk/client/src/frames.rs",
            "sdk/client/src/producer/lane.rs",
            "sdk/client/src/consumer/member.rs",
            "sdk/client/src/consumer/reader.rs",
        ],
    },
    Guest { crates: &["axum"], within: "", rooms: &["broker/src/admin/"] },
    Guest { crates: &["lettre"], within: "", rooms: &["sdk/mailer/src/"] },
    Guest { crates: &["minijinja"], within: "", rooms: &["sdk/mailer/src/template.rs"] },
    Guest {
        crates: &["hyper", "hyper_util", "hyper_rustls", "http_body_util"],
        within: "",
        rooms: &["sdk/webhook/src/post.rs"],
    },
    // The broker is no client of itself; its command line and its demo are.
    Guest {
        crates: &["weir_client", "weir_mailer", "weir_sink"],
        within: "broker/",
        rooms: &["broker/src/cli", "broker/src/demo"],
    },
];

/// What the words of one file say against the rooms.
pub fn check(path: &str, words: &[Word]) -> Vec<String> {
    let mut found = Vec::new();
    for guest in GUESTS.iter().filter(|guest| path.starts_with(guest.within)) {
        if guest.rooms.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        // A word of another meaning may be spelt like a crate: only paths and imports count.
        let named = words.iter().enumerate().find(|(at, word)| {
            let next = words.get(at + 1).map(|next| next.text.as_str());
            let before = at.checked_sub(1).map(|before| words[before].text.as_str());
            guest.crates.contains(&word.text.as_str())
                && before != Some("::")
                && (next == Some("::") || before == Some("use") || before == Some("crate"))
        });
        if let Some((_, word)) = named {
            found.push(format!(
                "{path}:{}: {} is named outside its room ({}); speak of it in our own words here",
                word.line,
                word.text,
                guest.rooms.join(", ")
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::source::words;
    use super::*;

    fn check_one(path: &str, source: &str, expected: &[&str]) {
        let found = check(path, &words(source));
        assert_eq!(found.len(), expected.len(), "{path} {source}: {found:?}");
        for (sentence, part) in found.iter().zip(expected) {
            assert!(sentence.contains(part), "{sentence} does not say {part}");
        }
    }

    #[test]
    fn each_guest_stays_in_its_room() {
        check_one("broker/plugin/src/engine.rs", "use wasmtime::Engine;", &[]);
        check_one("broker/views/src/store.rs", "use sled;", &[]);
        check_one(
            "broker/views/src/fold.rs",
            "// sled::Db\nfn f() -> sled::Db {}",
            &["fold.rs:2: sled is named"],
        );
        check_one("broker/src/desk.rs", "use {wasmtime::Engine};", &["wasmtime is named"]);
        check_one("broker/src/desk.rs", "use quinn as q;", &["quinn is named"]);
        check_one("broker/src/cli/publish.rs", "use weir_client::Producer;", &[]);
        check_one("broker/src/relay.rs", "use weir_client::Producer;", &["weir_client is named"]);
        check_one("sdk/mailer/src/lib.rs", "use weir_client::Consumer; use lettre::Message;", &[]);
    }

    #[test]
    fn words_of_another_meaning_and_tests_are_free() {
        check_one("broker/src/desk.rs", "let sled = 1; mine::sled::x()", &[]);
        check_one("broker/src/desk.rs", "#[cfg(test)] mod tests { use sled::Db; }", &[]);
    }
}
