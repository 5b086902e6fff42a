//! What becomes of uploaded bytes: a plugin, or one sentence that says what to do.

mod rig;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use rig::{host, wasm};
use weir_plugin_host::{
    ArtefactCache, CacheError, CompileError, Host, HostOptions, compile_file, limit_this_process,
};
use weir_wire::ids::{Digest, PluginName};

#[test]
fn what_is_no_plugin_is_refused_with_a_way_out() {
    let text = b"(component)".to_vec();
    let truncated = wasm("accept")[..500].to_vec();
    for (what, bytes, words) in [
        ("nothing", Vec::new(), "no WebAssembly component"),
        ("a picture", b"\x89PNG".to_vec(), "no WebAssembly component"),
        ("text", text, "assemble it first"),
        ("native code", b"\x7fELF\x02".to_vec(), "native code"),
        ("a core module", wasm("core-module"), "weir plugin wrap"),
        ("another world", wasm("other-world"), "does not export \"configure\""),
        ("wrong types", wasm("wrong-types"), "does not fit the world"),
        ("http", wasm("wasi-http"), "-d http -d fetch-event"),
        ("half a file", truncated, "does not compile"),
    ] {
        let error = host().compile(&bytes).expect_err(what).to_string();
        assert!(error.contains(words), "{what}: {error}");
        assert!(!error.contains('\n'), "{what}: {error}");
    }
    let Err(CompileError::Import { import, .. }) = host().compile(&wasm("wasi-http")) else {
        panic!("compiled")
    };
    assert_eq!(import, "wasi:http/outgoing-handler@0.2.3");
}

#[test]
fn a_component_over_the_limit_is_refused_before_it_is_looked_at() {
    let host = Host::new(HostOptions { component_bytes_max: 100, ..HostOptions::default() })
        .expect("an engine");
    let error = host.compile(&wasm("accept")).expect_err("too large");
    assert!(matches!(error, CompileError::TooLarge { max: 100, .. }), "{error}");
}

#[test]
fn no_damaged_component_stops_the_host() {
    let whole = wasm("counter");
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        // Refused or not: it must only not panic.
        let _ = host().compile(&damaged);
        assert!(host().compile(&whole[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn the_cache_compiles_once_and_again_when_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = ArtefactCache::open(folder.path().join("artefacts")).expect("a cache");
    let digest = Digest([7; 32]);
    assert!(cache.read(host(), &digest).expect("readable").is_none());
    let made = cache.get_or_compile(host(), &digest, &wasm("accept")).expect("compiles");
    // From the file: these bytes would not compile.
    let read = cache.get_or_compile(host(), &digest, b"").expect("is there");
    assert_eq!(made.bytes(), read.bytes());
    host().load(PluginName::parse("p").expect("a name"), digest, &read).expect("loads");

    let path = cache.path(host(), &digest);
    let mut bytes = fs::read(&path).expect("the file");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&path, bytes).expect("damage it");
    assert!(cache.read(host(), &digest).expect("readable").is_none());
    cache.get_or_compile(host(), &digest, &wasm("accept")).expect("compiles again");
    assert!(cache.read(host(), &digest).expect("readable").is_some());
}

#[test]
fn a_folder_that_others_may_write_is_not_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("artefacts");
    let cache = ArtefactCache::open(&path).expect("a cache");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).expect("opened to the group");
    assert!(matches!(ArtefactCache::open(&path), Err(CacheError::Open { .. })));
    assert!(matches!(cache.read(host(), &Digest([0; 32])), Err(CacheError::Open { .. })));
}

#[test]
fn what_a_child_compiles_the_broker_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = ArtefactCache::open(folder.path().join("artefacts")).expect("a cache");
    let digest = Digest([9; 32]);
    let input = folder.path().join("plugin.wasm");
    fs::write(&input, wasm("counter")).expect("an upload");
    compile_file(&input, &cache.path(host(), &digest), HostOptions::default()).expect("compiles");
    let artefact = cache.read(host(), &digest).expect("readable").expect("there");
    host().load(PluginName::parse("p").expect("a name"), digest, &artefact).expect("loads");

    fs::write(&input, "no component").expect("another upload");
    let error = compile_file(&input, &cache.path(host(), &Digest([8; 32])), HostOptions::default());
    assert!(matches!(error, Err(CacheError::Compile(CompileError::NotWasm))));
}

/// Names the upload for [`the_childs_part`], which runs in a process of its own.
const CHILD_INPUT: &str = "WEIR_TEST_CHILD_INPUT";

#[test]
fn the_compiling_child_works_within_a_gigabyte_and_not_within_a_tenth_of_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("plugin.wasm");
    fs::write(&input, wasm("counter")).expect("an upload");
    for (memory_bytes, works) in [(1_u64 << 30, true), (100 << 20, false)] {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "the_childs_part", "--ignored", "--test-threads=1"])
            .env(CHILD_INPUT, &input)
            .env("WEIR_TEST_CHILD_MEMORY", memory_bytes.to_string())
            .output()
            .expect("runs");
        assert_eq!(output.status.success(), works, "{memory_bytes}: {output:?}");
    }
}

#[test]
#[ignore = "limits its whole process: the test above runs it in one of its own"]
fn the_childs_part() {
    let input = PathBuf::from(std::env::var_os(CHILD_INPUT).expect("from the parent"));
    let memory_bytes = std::env::var("WEIR_TEST_CHILD_MEMORY").expect("from the parent");
    limit_this_process(memory_bytes.parse().expect("a number"), 60).expect("limits");
    // More than a tenth of a gigabyte and less than a whole one, as a large component would need.
    let work = vec![1_u8; 200 << 20];
    let output = input.with_extension("artefact");
    compile_file(&input, &output, HostOptions::default()).expect("compiles");
    assert!(fs::metadata(output).expect("written").len() > 0 && work[work.len() - 1] == 1);
}
