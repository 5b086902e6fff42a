//! Wrong things: each gives one clear sentence on stderr and a non-zero exit, and changes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use weir_tests::broker::{Broker, Output, program};
use weir_tests::flights;

/// What was wrong, the command, and what its sentence must name.
type Case<'c> = (&'c str, &'c [&'c str], &'c [&'c str]);

fn check(broker: &Broker, cases: &[Case<'_>]) {
    for (what, arguments, parts) in cases {
        check_refusal(what, &broker.weir(*arguments), parts);
    }
}

fn check_refusal(what: &str, told: &Output, parts: &[&str]) {
    assert!(!told.status.success(), "{what} passed: {told:?}");
    // The broker's own sentence stands last: what it logs before is for operators.
    let sentence = told.stderr.lines().last().unwrap_or_default();
    for part in parts {
        assert!(sentence.contains(part), "{what}: {part:?} is not in {sentence:?}");
    }
    assert!(told.stdout.lines().count() <= 1, "{what}: {told:?}");
}

fn check_one_line(what: &str, told: &Output) {
    assert_eq!(told.stderr.lines().count(), 1, "{what}: {}", told.stderr);
}

fn write(broker: &Broker, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(broker.folder().join(name), bytes).unwrap();
}

#[test]
fn commands_that_ask_for_what_is_not_there() {
    let broker = Broker::start();
    broker.done(["topic", "create", "flights"]);
    write(&broker, "one.jsonl", "{\"a\":1}\n");
    let cases: &[Case<'_>] = &[
        ("publish to no topic", &["publish", "nowhere", "--input", "one.jsonl"], &["nowhere"]),
        ("consume from no topic", &["consume", "nowhere", "--until-end"], &["nowhere"]),
        ("describe no topic", &["topic", "describe", "nowhere"], &["nowhere"]),
        ("delete no topic", &["topic", "delete", "nowhere"], &["nowhere"]),
        ("create a topic twice", &["topic", "create", "flights"], &["flights", "exists"]),
        ("no partitions", &["topic", "create", "empty", "--partitions", "0"], &["partitions"]),
        ("a name that is none", &["topic", "create", "a/b"], &["a/b"]),
        ("the broker's own name", &["topic", "create", "__mine"], &["__mine"]),
        (
            "consume a partition too many",
            &["consume", "flights", "--partition", "7", "--until-end"],
            &["7"],
        ),
        ("no such plugin", &["plugin", "bind", "flights", "nobody"], &["nobody"]),
        ("not bound", &["plugin", "unbind", "flights", "nobody"], &["nobody"]),
        ("no such file", &["publish", "flights", "--input", "nofile.jsonl"], &["nofile.jsonl"]),
        ("a flag that is none", &["publish", "flights", "--imput", "x"], &["--imput"]),
        (
            "a context that is none",
            &["topic", "list", "--context", "nowhere.toml"],
            &["nowhere.toml"],
        ),
    ];
    check(&broker, cases);
    for (what, arguments, _) in cases {
        check_one_line(what, &broker.weir(*arguments));
    }
}

#[test]
fn files_that_are_no_components() {
    let broker = Broker::start();
    write(&broker, "text.wasm", "no component");
    write(&broker, "module.wasm", wat::parse_str("(module)").unwrap());
    write(&broker, "empty.wasm", wat::parse_str("(component)").unwrap());
    let http = r#"(component (import "wasi:http/types@0.2.0" (instance)))"#;
    write(&broker, "http.wasm", wat::parse_str(http).unwrap());
    let cases: &[Case<'_>] = &[
        ("text", &["plugin", "push", "p", "text.wasm"], &["component"]),
        ("a core module", &["plugin", "push", "p", "module.wasm"], &["component"]),
        ("another world", &["plugin", "push", "p", "empty.wasm"], &["weir:plugin/filter"]),
        ("a foreign import", &["plugin", "push", "p", "http.wasm"], &["wasi:http/types"]),
        ("a file that is not there", &["plugin", "push", "p", "none.wasm"], &["none.wasm"]),
    ];
    check(&broker, cases);
    for (what, arguments, _) in cases {
        check_one_line(what, &broker.weir(*arguments));
    }
    assert_eq!(broker.done(["plugin", "list", "--json"]).json(), json!([]), "nothing came in");
}

#[test]
fn bindings_that_mean_nothing() {
    let broker = Broker::start();
    broker.done(["topic", "create", "flights"]);
    broker.done(["plugin", "push", "daily-limit", flights::daily_limit().to_str().unwrap()]);
    let bind = |more: &[&'static str]| {
        let told = broker.weir([&["plugin", "bind", "flights", "daily-limit"][..], more].concat());
        check_one_line(&more.join(" "), &told);
        told
    };
    for (what, more, parts) in [
        (
            "a config the plugin refuses",
            &["--config", r#"{"limit":0}"#][..],
            &["daily-limit", "limit"][..],
        ),
        ("no config where one is needed", &[], &["limit"]),
        ("a config that is no JSON", &["--config", "{limit"], &["JSON"]),
        ("a limit that is none", &["--limit", "fule=1"], &["fule"]),
        (
            "a limit over the maximum",
            &["--config", r#"{"limit":1}"#, "--limit", "fuel=99999999999"],
            &["fuel"],
        ),
        ("emit to no topic", &["--config", r#"{"limit":1}"#, "--emit", "nowhere"], &["nowhere"]),
    ] {
        check_refusal(what, &bind(more), parts);
    }
    let chain = broker.done(["plugin", "chain", "flights", "--json"]).json();
    assert_eq!(chain, json!({ "revision": 0, "bindings": [] }), "nothing was bound");
}

#[test]
fn input_that_is_broken_publishes_nothing() {
    let broker = Broker::start();
    broker.done(["topic", "create", "flights"]);
    let lines = flights::lines();
    let whole = lines[..100].join("\n");
    write(&broker, "cut.jsonl", &whole[..whole.len() - 10]);
    write(&broker, "untimed.jsonl", "{\"a\":1}\n");
    let cases: &[Case<'_>] = &[
        ("a truncated file", &["publish", "flights", "--input", "cut.jsonl"], &["100"]),
        (
            "a time that is not there",
            &["publish", "flights", "--input", "untimed.jsonl", "--timestamp", "/time"],
            &["/time"],
        ),
        (
            "a pointer that is none",
            &["publish", "flights", "--input", "cut.jsonl", "--key", "tailnum"],
            &["tailnum"],
        ),
    ];
    check(&broker, cases);
    for (what, arguments, _) in cases {
        check_one_line(what, &broker.weir(*arguments));
    }
    let stored = broker.done(["consume", "flights", "--from", "earliest", "--until-end"]);
    assert_eq!(stored.stdout, "", "nothing is half done");
}

#[test]
fn a_wrong_token_opens_neither_door() {
    let broker = Broker::start();
    broker.done(["topic", "create", "flights"]);
    write(&broker, "one.jsonl", "{\"a\":1}\n");
    let text = fs::read_to_string(broker.context()).unwrap();
    let data_dir = broker.data_dir();
    let text = text
        .replace("admin.token", broker.folder().join("wrong.token").to_str().unwrap())
        .replace("tls/cert.pem", data_dir.join("tls/cert.pem").to_str().unwrap());
    write(&broker, "wrong.toml", text);
    write(&broker, "wrong.token", "0".repeat(64));
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(broker.folder().join("wrong.token"), closed).unwrap();
    check(
        &broker,
        &[
            ("the admin door", &["topic", "list", "--context", "wrong.toml"], &["token"]),
            (
                "the data door",
                &["publish", "flights", "--input", "one.jsonl", "--context", "wrong.toml"],
                &["token"],
            ),
        ],
    );
}

#[test]
fn a_second_broker_stays_out_of_the_way() {
    let broker = Broker::start();
    let other = tempfile::tempdir().unwrap();
    let serve = |data_dir: &Path, listen: &str, admin: &str| {
        let mut command = Command::new(program());
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen", listen, "--admin", admin]);
        Output::of(&mut command)
    };
    let (free, data, admin) = ("127.0.0.1:0", broker.data_address(), broker.admin_address());
    for (what, told, parts) in [
        (
            "data directory in use",
            serve(&broker.data_dir(), free, free),
            &["in use", "pid", "--data-dir"],
        ),
        ("data port in use", serve(other.path(), data, free), &[data, "in use", "--listen"]),
        ("admin port in use", serve(other.path(), free, admin), &[admin, "in use", "--admin"]),
    ] {
        check_refusal(what, &told, parts);
        assert_eq!(told.stdout, "", "{what}: not ready");
    }
    let told = serve(other.path(), "0.0.0.0:0", free);
    check_refusal("open to the world without a certificate", &told, &["0.0.0.0", "certificate"]);
    broker.done(["topic", "list"]);
}

#[test]
fn a_broker_that_is_gone_is_told() {
    let mut broker = Broker::start();
    broker.done(["topic", "create", "flights"]);
    broker.stop();
    check(
        &broker,
        &[("no broker", &["topic", "list"], &[&format!("http://{}", broker.admin_address())])],
    );
}
