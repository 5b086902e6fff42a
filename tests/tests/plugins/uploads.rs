//! B11 and B13: uploads that attack the compiler or the door. Each is refused with a sentence, or
//! compiled after all, by a child process under limits; publishers are served meanwhile, and the
//! broker's own memory does not grow with what its child needs.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use weir_client::AdminError;
use weir_tests::bed::{Bed, probe, word};
use weir_tests::torture::Row;

use super::neighbour::Neighbour;

/// What the broker may hold more of after an upload than before.
const MEMORY_BYTES_MORE_MAX: u64 = 64 << 20;
/// How long an upload may take, whatever is in it: the child has 60 s of processor time, and a busy
/// machine makes more of them.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(300);

/// The shell of all probes with another core module in it.
fn component(module: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/probes/world.wat");
    let shell = std::fs::read_to_string(folder).unwrap();
    wat::parse_str(shell.replace(";; PROBE", module)).unwrap()
}

/// A core module that does what a probe has to, and has `more` in it.
fn module(more: &str) -> String {
    format!(
        r#"(core module $module
             (import "lib" "memory" (memory 1))
             (func (export "configure") (param i32 i32) (result i32) (i32.const 4096))
             (func (export "process") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
               (i32.store8 (i32.const 4096) (i32.const 0)) (i32.const 4096))
             {more})
           (core instance $probe (instantiate $module
             (with "lib" (instance $lib)) (with "weir" (instance $weir))))"#
    )
}

/// A good plugin with components in components in it, so many deep.
fn nested(deep: usize) -> Vec<u8> {
    const PREAMBLE: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
    let mut inner = PREAMBLE.to_vec();
    for _ in 1..deep {
        let mut outer = PREAMBLE.to_vec();
        push_component(&mut outer, &inner);
        inner = outer;
    }
    let mut plugin = probe("accept");
    push_component(&mut plugin, &inner);
    plugin
}

/// Adds a section that holds a component.
fn push_component(outer: &mut Vec<u8>, inner: &[u8]) {
    outer.push(4);
    let mut size = inner.len();
    while 128 <= size {
        outer.push(size as u8 | 0x80);
        size >>= 7;
    }
    outer.push(size as u8);
    outer.extend(inner);
}

/// A good plugin with tuples of two of the type before: what they flatten to doubles each time.
fn doubling_types(deep: usize) -> Vec<u8> {
    let mut types = String::from("(type $t0 (tuple u64 u64))");
    for level in 1..=deep {
        let below = level - 1;
        types += &format!("(type $t{level} (tuple $t{below} $t{below}))");
    }
    component(&(module("") + &types))
}

fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let function = |body: String| component(&module(&format!("(func {body})")));
    let mut blocks = "block ".repeat(15_000);
    blocks += &"end ".repeat(15_000);
    let targets = " 0".repeat(60_000);
    vec![
        (
            "a function of 7 MiB",
            function(
                "(local i64) local.get 0 ".to_owned()
                    + &"i64.const 7 i64.mul ".repeat(2_300_000)
                    + "drop",
            ),
        ),
        ("50,000 locals", function(format!("(local{})", " i64".repeat(50_000)))),
        ("a million functions", component(&module(&"(func) ".repeat(999_000)))),
        ("15,000 blocks in blocks", function(blocks)),
        (
            "a table of 60,000 branches",
            function(format!("(block (br_table{targets} (i32.const 0)))")),
        ),
        ("types that double 100 times", doubling_types(100)),
        ("1,000 components in each other", nested(1_000)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_bombs_for_the_compiler() {
    let mut row = Row::begin("B11", "bombs for the compiler");
    let bed = bed().await;
    let (process, memory_bytes) = (bed.broker.process(), bed.memory_bytes());
    for (what, bomb) in bombs() {
        let quiet = Neighbour::start(&bed.client).await;
        let began = Instant::now();
        let pushed = bed.push("bomb", bomb).await;
        let took = began.elapsed();
        let (median, p99) = quiet.stop().await;
        match pushed {
            Ok(_) => row.count("compiled", 1),
            Err(AdminError::Refused { problem, .. }) => {
                assert_eq!(problem.code, "invalid-component", "{what}: {problem:?}");
                assert!(!problem.message.contains('\n'), "{what}: {problem:?}");
                eprintln!("B11 {what}: {}", problem.message);
                row.count("refused", 1);
            }
            Err(other) => panic!("{what}: {other}"),
        }
        assert!(took < ANSWER_WAIT_MAX, "{what}: {took:?}");
        row.count(&format!("{what}: ms"), took.as_millis() as u64);
        row.count(&format!("{what}: neighbour p50 us"), median);
        row.count(&format!("{what}: neighbour p99 us"), p99);
    }
    served(&bed, process, memory_bytes).await;
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b13_uploads_that_are_no_plugins() {
    let mut row = Row::begin("B13", "uploads that are no plugins");
    let bed = bed().await;
    let (process, memory_bytes) = (bed.broker.process(), bed.memory_bytes());
    let importing = |name: &str| {
        let text = format!(r#"(component (import "{name}" (instance)))"#);
        wat::parse_str(text).unwrap()
    };
    let whole = probe("accept");
    // The broker's own compiled code, as an upload: what a .cwasm is.
    let cache = bed.broker.data_dir().join("cache");
    let artefact = std::fs::read_dir(cache).unwrap().next().unwrap().unwrap().path();
    let artefact = std::fs::read(artefact).unwrap();
    let elf = artefact.windows(4).position(|bytes| bytes == b"\x7fELF").unwrap();
    for (what, bytes, words) in [
        ("a compiled component", artefact[elf..].to_vec(), "native code"),
        ("the cache's own file", artefact, "no WebAssembly component"),
        ("half of one", whole[..whole.len() / 2].to_vec(), "does not compile"),
        ("another world", probe("other-world"), "does not export \"configure\""),
        ("a core module", probe("core-module"), "core module"),
        ("sockets of another world", importing("wasi:sockets/tcp@0.3.0"), "wasi:sockets/tcp@0.3.0"),
        ("http", importing("wasi:http/types@0.2.0"), "wasi:http/types@0.2.0"),
        ("a stranger", importing("acme:files/all@1.0.0"), "acme:files/all@1.0.0"),
    ] {
        let Err(AdminError::Refused { problem, .. }) = bed.push("upload", bytes).await else {
            panic!("{what} was taken")
        };
        assert!(problem.message.contains(words), "{what}: {problem:?}");
        row.count("refused", 1);
    }
    for length in [Length::Said, Length::Unsaid] {
        let answer = upload_a_gigabyte(&bed, length).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length:?}: {answer}");
        row.count("refused", 1);
    }
    served(&bed, process, memory_bytes).await;
    assert_eq!(bed.admin.plugins().await.unwrap().len(), 1, "nothing came in but the first");
    row.passed();
}

/// Whether an upload says how long it is before it comes.
#[derive(Debug, Clone, Copy)]
enum Length {
    Said,
    Unsaid,
}

/// Sends zeros until there is an answer, a GiB at most; gives the answer's first line.
async fn upload_a_gigabyte(bed: &Bed, length: Length) -> String {
    let token = std::fs::read_to_string(bed.broker.data_dir().join("admin.token")).unwrap();
    let body = match length {
        Length::Said => format!("content-length: {}", 1_u64 << 30),
        Length::Unsaid => "transfer-encoding: chunked".to_owned(),
    };
    let head = format!(
        "POST /v1/plugins/huge/versions HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/wasm\r\n{body}\r\n\r\n",
        bed.broker.admin_address(),
        token.trim(),
    );
    let door = TcpStream::connect(bed.broker.admin_address()).await.unwrap();
    let (reader, mut writer) = door.into_split();
    writer.write_all(head.as_bytes()).await.unwrap();
    let sending = tokio::spawn(async move {
        let mut chunk = b"100000\r\n".to_vec();
        chunk.resize(chunk.len() + (1 << 20), 0);
        chunk.extend(b"\r\n");
        for _ in 0..1 << 10 {
            // The door is closed in the middle of it: that is the point.
            if writer.write_all(&chunk).await.is_err() {
                return;
            }
        }
    });
    let mut first = String::new();
    // Who sends on into a closed door may find the answer gone with it.
    let read = BufReader::new(reader).read_line(&mut first).await;
    sending.abort();
    match read {
        Ok(_) => first,
        Err(error) => format!("no answer: {error}"),
    }
}

async fn bed() -> Bed {
    let bed = Bed::start().await;
    bed.topic("quiet").await;
    bed.push("accept", probe("accept")).await.unwrap();
    bed.bind("quiet", "accept", Default::default()).await.unwrap();
    bed.publish("quiet", &[b"a"]).await;
    bed
}

async fn served(bed: &Bed, process: u32, memory_bytes: u64) {
    assert_eq!(bed.broker.process(), process, "the same process");
    let told = bed.publish("quiet", &[b"a"]).await;
    assert_eq!(word(&told[0].verdict), "accepted");
    let more = bed.memory_bytes().saturating_sub(memory_bytes);
    assert!(more < MEMORY_BYTES_MORE_MAX, "the broker holds {more} bytes more");
    assert!(!bed.broker.log().contains("panicked"), "{}", bed.broker.log());
}
