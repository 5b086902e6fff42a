//! A core module that is called directly says, does and keeps what its component does through
//! wasmtime's component runtime: our own rules on events of all kinds, and modules that break every
//! promise of the canonical ABI that there is. And a component that is wired otherwise than its names
//! say is not called directly.

mod rig;

use std::path::Path;

use rig::*;
use wasmparser::{Parser, Payload};
use weir_plugin_host::{BindingSettings, FaultCause, Host, HostOptions, Plugin, WasmStage};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PluginName, TopicName};
use weir_wire::record_batch::Event;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const CONTRACT: &str = include_str!("../../../wit/plugin.wit");

/// The two ways of one component: directly, and through the component runtime.
fn both(component: &[u8]) -> [Plugin; 2] {
    [true, false].map(|direct| {
        let host = Host::new(HostOptions { direct, ..HostOptions::default() }).expect("an engine");
        let plugin = loaded(&host, component);
        assert_eq!(plugin.is_direct(), direct, "whether it is called directly");
        plugin
    })
}

fn loaded(host: &Host, component: &[u8]) -> Plugin {
    let artefact = host.compile(component).expect("it compiles");
    let name = PluginName::parse("rule").expect("a name");
    host.load(name, Digest([0; 32]), &artefact).expect("it loads")
}

fn settings(config: &str) -> BindingSettings {
    let emit = vec![TopicName::parse("notices").expect("a name")];
    BindingSettings { config: config.to_owned(), emit, limits: Limits::default() }
}

fn stages(component: &[u8], config: &str) -> [WasmStage; 2] {
    both(component).map(|plugin| plugin.stage(settings(config)).expect("it takes its config"))
}

/// What became of some batches on each way has to be the same; gives what it was.
fn judge_on_both(stages: &mut [WasmStage; 2], batches: &[Vec<Event>]) -> Vec<Outcome> {
    let [direct, component] = stages.each_mut().map(|stage| {
        let mut base = Base::default();
        let mut now = 1_700_000_000_000;
        let judge = |events: &Vec<Event>| {
            now += 1_000;
            let outcome = judge_all(stage, &base, now, events);
            base.fold(outcome.changes.clone());
            outcome
        };
        batches.iter().map(judge).collect::<Vec<_>>()
    });
    for (direct, component) in direct.iter().zip(&component) {
        assert_eq!(direct.signs(), component.signs());
        for (one, other) in direct.verdicts.iter().zip(&component.verdicts) {
            match (one, other) {
                (Ok(one), Ok(other)) => assert_eq!(one, other),
                (Err(one), Err(other)) => assert_eq!(one.cause, other.cause, "{one}; {other}"),
                _ => unreachable!("the signs are the same"),
            }
        }
        assert_eq!(direct.changes, component.changes);
        assert_eq!(direct.side_events, component.side_events);
    }
    direct
}

fn own(folder: &str, file: &str) -> Vec<u8> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    std::fs::read(plugins.join(folder).join(file).with_extension("wasm")).expect("it is committed")
}

#[test]
fn the_benchmarks_least_rule_is_called_directly_and_accepts() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/rules/accept.wasm");
    let mut stages = stages(&std::fs::read(file).expect("it is committed"), "null");
    for judged in judge_on_both(&mut stages, &any_events(7)) {
        assert!(judged.signs().bytes().all(|sign| sign == b'+'), "{}", judged.signs());
    }
}

/// Events that our rules find things in: JSON and none, few keys and many, with headers and without.
fn any_events(seed: u64) -> Vec<Vec<Event>> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let any = |chance: &mut fastrand::Rng| {
        let user = chance.u32(..12);
        let value = match chance.u32(..8) {
            0 => Vec::new(),
            1 => vec![0xff; chance.usize(..5_000)],
            2 => b"{\"user\":".to_vec(),
            _ => format!(
                r#"{{"user":"user-{user}","amount":{},"card":"4111 1111","note":"{}"}}"#,
                chance.u32(..200),
                "ä".repeat(chance.usize(..50)),
            )
            .into_bytes(),
        };
        let key = match chance.u32(..10) {
            0 => String::new(),
            1 => "k".repeat(300),
            _ => format!("user-{user}"),
        };
        let mut event = event(&key, value, chance.u64(..2_000_000_000_000));
        for name in ["id", "trace", "id"].iter().take(chance.usize(..4)) {
            event.headers.push(header(name, ["1", "zwei", ""][chance.usize(..3)]));
        }
        event
    };
    (0..6).map(|_| (0..100).map(|_| any(&mut chance)).collect()).collect()
}

#[test]
fn our_own_rules_are_called_directly_and_say_the_same() {
    for (folder, file, config) in [
        ("daily-limit", "daily-limit", r#"{"limit":20,"notice":"notices"}"#),
        (
            "daily-limit",
            "daily-limit",
            r#"{"limit":2,"key":"/user","time":"event","notice":"notices"}"#,
        ),
        ("daily-limit-c", "daily-limit", r#"{"limit":20,"notice":"notices"}"#),
        ("rate-limit", "rate-limit", r#"{"rate":3,"per":"2s","burst":5}"#),
        ("dedup", "dedup", r#"{"by":"/user","window":"1500ms"}"#),
        (
            "redact",
            "redact",
            r#"{"fields":{"/card":"remove","/note":{"replace":"***"}},"headers":{"trace":"remove"}}"#,
        ),
        (
            "route",
            "route",
            r#"{"rules":[{"when":{"at":"/user","equals":"user-3"},"emit":"notices","key":"/user"}]}"#,
        ),
        ("json-schema", "json-schema", r#"{"schema":{"type":"object","required":["user"]}}"#),
    ] {
        let mut stages = stages(&own(folder, file), config);
        for seed in 0..3 {
            let judged = judge_on_both(&mut stages, &any_events(seed));
            let verdicts = || judged.iter().flat_map(|outcome| &outcome.verdicts);
            assert!(verdicts().any(Result::is_ok), "{folder} judges something");
        }
    }
}

/// A rule as a core module: what it does in its three functions.
struct Core {
    process: &'static str,
    realloc: &'static str,
    post: &'static str,
    more: &'static str,
}

const BUMP: &str = "(local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $len)))
    (local.get $at)";

impl Core {
    fn process(process: &'static str) -> Self {
        Self { process, realloc: BUMP, post: "", more: "" }
    }

    /// As `weir plugin wrap` makes it.
    fn component(&self) -> Vec<u8> {
        let Self { process, realloc, post, more } = self;
        let version =
            CONTRACT.split_once("package weir:plugin@").and_then(|(_, rest)| rest.split_once(';'));
        let version = version.expect("it names its version").0;
        let text = format!(
            r#"(module
              (import "weir:plugin/context@{version}" "now" (func $now (result i64)))
              (import "weir:plugin/context@{version}" "topic" (func $topic (param i32)))
              (import "weir:plugin/context@{version}" "partition" (func $partition (result i32)))
              (import "weir:plugin/context@{version}" "publisher" (func $publisher (param i32)))
              (import "weir:plugin/state@{version}" "get" (func $get (param i32 i32 i32)))
              (import "weir:plugin/state@{version}" "set" (func $set (param i32 i32 i32 i32 i32 i64)))
              (import "weir:plugin/state@{version}" "delete" (func $delete (param i32 i32)))
              (import "weir:plugin/state@{version}" "increment" (func $increment (param i32 i32 i64 i32 i64) (result i64)))
              (import "weir:plugin/state@{version}" "increment-up-to"
                (func $up-to (param i32 i32 i64 i64 i32 i64 i32)))
              (import "weir:plugin/outbox@{version}" "emit"
                (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)))
              (import "weir:plugin/log@{version}" "write" (func $write (param i32 i32 i32)))
              (memory (export "memory") 32)
              (global $free (mut i32) (i32.const 65536))
              (data (i32.const 16) "notices" "elsewhere" "weir-hops" "\ff\fe\fd")
              (func (export "cabi_realloc") (param $old i32) (param $old-len i32) (param $align i32) (param $len i32) (result i32)
                {realloc})
              (func (export "configure") (param i32 i32) (result i32) (i32.const 1024))
              (func $process (export "process")
                (param $has-key i32) (param $key i32) (param $key-len i32)
                (param $value i32) (param $value-len i32)
                (param $headers i32) (param $headers-len i32)
                (param $time i64) (result i32)
                {process})
              (func (export "cabi_post_process") (param i32) (global.set $free (i32.const 65536)) {post})
              {more})"#
        );
        let mut module = wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut resolve = Resolve::default();
        let package = resolve.push_str("plugin.wit", CONTRACT).expect("the contract is WIT");
        let world = resolve.select_world(&[package], Some("filter")).expect("it has this world");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .expect("it takes a world");
        let mut encoder = ComponentEncoder::default();
        let encoder = encoder.validate(true).module(&module);
        encoder.and_then(|encoder| encoder.encode()).expect("it is of this world")
    }
}

/// Three events, so that what a fault leaves behind is seen: each is judged by the instance after it.
fn three() -> Vec<Vec<Event>> {
    let mut whole = event("alice", "booking", 7);
    whole.headers = vec![header("trace", "1"), header("trace", "")];
    vec![vec![whole.clone(), event("", "", 0), whole]]
}

fn signs_of(core: &Core) -> (String, Option<FaultCause>) {
    let judged = judge_on_both(&mut stages(&core.component(), "{}"), &three()).remove(0);
    let is_fault = judged.verdicts.iter().any(Result::is_err);
    (judged.signs(), is_fault.then(|| judged.cause()))
}

/// The verdict at 4096.
const ANSWER: &str = "(i32.const 4096)";

#[test]
fn what_a_guest_hands_over_is_read_or_refused_alike() {
    use FaultCause::{Denied, OutputTooLarge, StateQuota, Trap};
    for (does, process, expected) in [
        ("accepts", ANSWER, None),
        ("names no verdict", "(i32.store8 (i32.const 4096) (i32.const 4)) (i32.const 4096)", Some(Trap)),
        ("answers beside a boundary", "(i32.const 4097)", Some(Trap)),
        ("answers at the very end", "(i32.const 2097104)", None),
        ("answers over the end", "(i32.const 2097112)", Some(Trap)),
        ("answers out of all memory", "(i32.const -8)", Some(Trap)),
        (
            "rejects with a code out of bounds",
            "(i32.store8 (i32.const 4096) (i32.const 3))
             (i32.store (i32.const 4104) (i32.const -1)) (i32.store (i32.const 4108) (i32.const 8)) (i32.const 4096)",
            Some(Trap),
        ),
        (
            "rejects with what is no text",
            "(i32.store8 (i32.const 4096) (i32.const 3))
             (i32.store (i32.const 4112) (i32.const 41)) (i32.store (i32.const 4116) (i32.const 3)) (i32.const 4096)",
            Some(Trap),
        ),
        (
            "rejects with half an option",
            "(i32.store8 (i32.const 4096) (i32.const 3)) (i32.store8 (i32.const 4120) (i32.const 2)) (i32.const 4096)",
            Some(Trap),
        ),
        (
            "rejects until later",
            "(i32.store8 (i32.const 4096) (i32.const 3)) (i32.store8 (i32.const 4120) (i32.const 1))
             (i64.store (i32.const 4128) (i64.const -1)) (i32.const 4096)",
            None,
        ),
        (
            "replaces by what it was given",
            "(i32.store8 (i32.const 4096) (i32.const 1))
             (i32.store8 (i32.const 4104) (local.get $has-key))
             (i32.store (i32.const 4108) (local.get $key)) (i32.store (i32.const 4112) (local.get $key-len))
             (i32.store (i32.const 4116) (local.get $value)) (i32.store (i32.const 4120) (local.get $value-len))
             (i32.store (i32.const 4124) (local.get $headers)) (i32.store (i32.const 4128) (local.get $headers-len))
             (i64.store (i32.const 4136) (local.get $time)) (i32.const 4096)",
            None,
        ),
        (
            "replaces with a key that is half there",
            "(i32.store8 (i32.const 4096) (i32.const 1)) (i32.store8 (i32.const 4104) (i32.const 7)) (i32.const 4096)",
            Some(Trap),
        ),
        (
            "replaces with headers beside a boundary",
            "(i32.store8 (i32.const 4096) (i32.const 1))
             (i32.store (i32.const 4124) (i32.const 4098)) (i32.store (i32.const 4128) (i32.const 1)) (i32.const 4096)",
            Some(Trap),
        ),
        (
            "replaces with more headers than there is memory",
            "(i32.store8 (i32.const 4096) (i32.const 1))
             (i32.store (i32.const 4124) (i32.const 8192)) (i32.store (i32.const 4128) (i32.const -1)) (i32.const 4096)",
            Some(Trap),
        ),
        (
            "replaces with more headers than anybody sends",
            "(i32.store8 (i32.const 4096) (i32.const 1))
             (i32.store (i32.const 4124) (i32.const 8192)) (i32.store (i32.const 4128) (i32.const 100000)) (i32.const 4096)",
            Some(OutputTooLarge),
        ),
        (
            "replaces with one piece of memory again and again",
            "(i32.store8 (i32.const 4096) (i32.const 1))
             (i32.store (i32.const 4120) (i32.const 1048576))
             (i32.store (i32.const 4124) (i32.const 8192)) (i32.store (i32.const 4128) (i32.const 2))
             (i32.store (i32.const 8204) (i32.const 1048576)) (i32.store (i32.const 8220) (i32.const 1048576)) (i32.const 4096)",
            Some(OutputTooLarge),
        ),
        ("asks where it is", "(call $topic (i32.const 64)) (call $publisher (i32.const 72))
            (drop (call $partition)) (drop (call $now))
            (call $set (i32.load (i32.const 64)) (i32.load (i32.const 68)) (i32.load (i32.const 72)) (i32.load (i32.const 76)) (i32.const 0) (i64.const 0))
            (i32.const 4096)", None),
        ("asks into nowhere", "(call $topic (i32.const -4)) (i32.const 4096)", Some(Trap)),
        ("asks beside a boundary", "(call $publisher (i32.const 65)) (i32.const 4096)", Some(Trap)),
        ("keeps and looks", "(call $set (local.get $key) (local.get $key-len) (local.get $value) (local.get $value-len) (i32.const 1) (i64.const 5))
            (call $get (local.get $key) (local.get $key-len) (i32.const 64))
            (i32.store8 (i32.const 4096) (i32.const 3))
            (i64.store (i32.const 4104) (i64.load (i32.const 68)))
            (i32.const 4096)", None),
        ("looks for what is not there", "(call $get (i32.const 0) (i32.const 4) (i32.const 64))
            (if (i32.load8_u (i32.const 64)) (then unreachable)) (i32.const 4096)", None),
        ("looks with a key out of bounds", "(call $get (i32.const 2097150) (i32.const 4) (i32.const 64)) (i32.const 4096)", Some(Trap)),
        ("looks into nowhere", "(call $get (i32.const 0) (i32.const 4) (i32.const 2097148)) (i32.const 4096)", Some(Trap)),
        ("looks beside a boundary", "(call $get (i32.const 0) (i32.const 4) (i32.const 66)) (i32.const 4096)", Some(Trap)),
        ("keeps a value out of bounds", "(call $set (i32.const 0) (i32.const 4) (i32.const 64) (i32.const -1) (i32.const 0) (i64.const 0)) (i32.const 4096)", Some(Trap)),
        ("keeps for half a time", "(call $set (i32.const 0) (i32.const 4) (i32.const 64) (i32.const 1) (i32.const 2) (i64.const 0)) (i32.const 4096)", Some(Trap)),
        ("keeps under a key too long", "(call $set (i32.const 0) (i32.const 257) (i32.const 64) (i32.const 1) (i32.const 0) (i64.const 0)) (i32.const 4096)", Some(StateQuota)),
        ("keeps too much", "(call $set (i32.const 0) (i32.const 4) (i32.const 64) (i32.const 65537) (i32.const 0) (i64.const 0)) (i32.const 4096)", Some(StateQuota)),
        ("counts", "(drop (call $increment (i32.const 16) (i32.const 7) (i64.const 3) (i32.const 1) (i64.const 100)))
            (call $delete (i32.const 23) (i32.const 2)) (i32.const 4096)", None),
        ("counts up to a limit", "(call $up-to (i32.const 16) (i32.const 7) (i64.const 3) (i64.const 7) (i32.const 1) (i64.const 100) (i32.const 64))
            (call $set (i32.const 32) (i32.const 4) (i32.const 64) (i32.const 16) (i32.const 0) (i64.const 0)) (i32.const 4096)", None),
        ("counts up to half a time", "(call $up-to (i32.const 16) (i32.const 7) (i64.const 3) (i64.const 7) (i32.const 3) (i64.const 100) (i32.const 64)) (i32.const 4096)", Some(Trap)),
        ("counts up to beside a boundary", "(call $up-to (i32.const 16) (i32.const 7) (i64.const 3) (i64.const 7) (i32.const 1) (i64.const 100) (i32.const 68)) (i32.const 4096)", Some(Trap)),
        ("counts up to nowhere", "(call $up-to (i32.const 16) (i32.const 7) (i64.const 3) (i64.const 7) (i32.const 1) (i64.const 100) (i32.const 2097144)) (i32.const 4096)", Some(Trap)),
        ("counts what is no counter", "(call $set (i32.const 0) (i32.const 4) (i32.const 64) (i32.const 1) (i32.const 0) (i64.const 0))
            (drop (call $increment (i32.const 0) (i32.const 4) (i64.const 3) (i32.const 0) (i64.const 0))) (i32.const 4096)", Some(Trap)),
        ("forgets out of bounds", "(call $delete (i32.const -1) (i32.const -1)) (i32.const 4096)", Some(Trap)),
        ("emits what it was given", "(call $emit (i32.const 16) (i32.const 7) (local.get $has-key) (local.get $key) (local.get $key-len)
            (local.get $value) (local.get $value-len) (local.get $headers) (local.get $headers-len) (local.get $time)) (i32.const 4096)", None),
        ("emits elsewhere", "(call $emit (i32.const 23) (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)) (i32.const 4096)", Some(Denied)),
        ("emits to what is no name", "(call $emit (i32.const 41) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)) (i32.const 4096)", Some(Trap)),
        ("emits half a key", "(call $emit (i32.const 16) (i32.const 7) (i32.const 2) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)) (i32.const 4096)", Some(Trap)),
        ("writes", "(call $write (i32.const 3) (i32.const 16) (i32.const 7)) (i32.const 4096)", None),
        ("writes at no level", "(call $write (i32.const 4) (i32.const 16) (i32.const 7)) (i32.const 4096)", Some(Trap)),
        ("writes what is no text", "(call $write (i32.const 1) (i32.const 41) (i32.const 3)) (i32.const 4096)", Some(Trap)),
        ("gives up", "unreachable", Some(Trap)),
        ("loops", "(loop $again (br $again)) (i32.const 4096)", Some(FaultCause::Timeout)),
        ("recurses", "(call $process (local.get $has-key) (local.get $key) (local.get $key-len) (local.get $value)
            (local.get $value-len) (local.get $headers) (local.get $headers-len) (local.get $time))", Some(FaultCause::Stack)),
    ] {
        let (signs, cause) = signs_of(&Core::process(process));
        assert_eq!(cause, expected, "{does}: {signs}");
    }
}

#[test]
fn what_a_guest_does_while_it_allocates_and_frees_ends_alike() {
    let accepts = Core::process(ANSWER);
    for (does, core) in [
        ("allocates beside a boundary", Core { realloc: "(i32.const 65537)", ..accepts }),
        ("allocates over the end", Core { realloc: "(i32.const 2097152)", ..accepts }),
        ("allocates nothing", Core { realloc: "unreachable", ..accepts }),
        (
            "asks for the time while it allocates",
            Core { realloc: "(drop (call $now)) (i32.const 65536)", ..accepts },
        ),
        ("asks for the time while it frees", Core { post: "(drop (call $now))", ..accepts }),
        (
            "counts while it frees",
            Core {
                post: "(drop (call $increment (i32.const 16) (i32.const 7) (i64.const 1) (i32.const 0) (i64.const 0)))",
                ..accepts
            },
        ),
        ("gives up while it frees", Core { post: "unreachable", ..accepts }),
    ] {
        let component = core.component();
        let [direct, other] = both(&component).map(|plugin| plugin.stage(settings("{}")));
        let judged = match (direct, other) {
            (Ok(direct), Ok(other)) => judge_on_both(&mut [direct, other], &three()).remove(0),
            // The config is the first that is allocated for.
            (Err(_), Err(_)) => continue,
            (direct, _) => panic!("{does}: {:?}", direct.err()),
        };
        assert!(judged.signs().contains('!'), "{does}: {}", judged.signs());
    }
}

#[test]
fn what_runs_before_the_config_runs_alike() {
    let accepts = Core::process(ANSWER);
    for (does, more, starts) in [
        (
            "initializes",
            r#"(func (export "_initialize") (global.set $free (i32.const 70000)))"#,
            true,
        ),
        (
            "writes when it initializes",
            r#"(func (export "_initialize") (call $write (i32.const 1) (i32.const 16) (i32.const 7)))"#,
            true,
        ),
        (
            "counts when it initializes",
            r#"(func (export "_initialize") (call $delete (i32.const 16) (i32.const 7)))"#,
            false,
        ),
        ("starts", "(func $start (global.set $free (i32.const 70000))) (start $start)", true),
        (
            "writes when it starts",
            "(func $start (call $write (i32.const 1) (i32.const 16) (i32.const 7))) (start $start)",
            false,
        ),
        ("asks when it starts", "(func $start (drop (call $now))) (start $start)", false),
    ] {
        let core = Core { more, ..Core { process: accepts.process, ..accepts } };
        let begins = both(&core.component()).map(|plugin| plugin.stage(settings("{}")).is_ok());
        assert_eq!(begins, [starts; 2], "{does}");
    }
}

#[test]
fn other_wiring_than_the_names_say_is_left_to_the_component_runtime() {
    let more = r#"(func (export "proceed") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
        (i32.store8 (i32.const 4096) (i32.const 2)) (i32.const 4096))"#;
    let core = Core { more, ..Core::process(ANSWER) };
    let mut component = core.component();
    assert!(both(&component)[0].is_direct());

    // Its `process` becomes what the module calls `proceed`. Behind the module comes the wiring: a name
    // of seven letters, of an instance of a core module (5).
    let behind = Parser::new(0).parse_all(&component).find_map(|payload| match payload {
        Ok(Payload::ModuleSection { unchecked_range, .. }) => Some(unchecked_range.end),
        _ => None,
    });
    let behind = behind.expect("it has a module");
    let found = component[behind..].windows(9).position(|window| window == b"\x05\x07process");
    let wired = behind + found.expect("it is wired") + 2;
    component[wired..wired + 7].copy_from_slice(b"proceed");

    let plugin = loaded(host(), &component);
    assert!(!plugin.is_direct());
    let mut stage = plugin.stage(settings("{}")).expect("it takes its config");
    let judged = judge_all(&mut stage, &Base::default(), 1, &three().remove(0));
    assert_eq!(judged.signs(), "...", "it does what it is wired to do");
    // And components by hand are none of our encoder's.
    assert!(!rig::plugin("accept").is_direct());
}
