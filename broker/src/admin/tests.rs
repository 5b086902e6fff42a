use std::collections::BTreeSet;

use axum::http::Method;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_wire::admin::*;
use weir_wire::ids::{Digest, GroupName, PartitionId, PluginName, Timestamp, TopicName};

use super::body::{ComponentBody, JsonBody, Names};
use super::routes::Route;
use super::*;

fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).unwrap()
}

#[test]
fn the_document_describes_every_route_and_no_other() {
    let served: BTreeSet<_> =
        routes::all().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let described: BTreeSet<_> = document()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    assert_eq!(described, served);
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn follow(part: &Value, document: &Value) {
        if let Some(target) = part.get("$ref") {
            let target = target.as_str().unwrap();
            assert!(document.pointer(&target[1..]).is_some(), "{target}");
        }
        match part {
            Value::Object(fields) => fields.values().for_each(|field| follow(field, document)),
            Value::Array(items) => items.iter().for_each(|item| follow(item, document)),
            _ => {}
        }
    }
    follow(&document(), &document());
}

#[test]
fn the_documents_schemas_have_the_fields_of_the_types() {
    let topic = TopicName::parse("t").unwrap();
    let plugin = PluginName::parse("p").unwrap();
    let binding = Binding {
        plugin: plugin.clone(),
        version: 1,
        digest: Digest([0; 32]),
        order: 0,
        config: Value::Null,
        on_failure: FailurePolicy::Closed,
        emit: vec![],
        dead_letter: None,
        limits: Limits::default(),
        paused: false,
        keyspace: Default::default(),
    };
    let version = PluginVersion {
        name: plugin.clone(),
        version: 1,
        digest: Digest([0; 32]),
        bytes: 1,
        pushed_at: Timestamp(0),
        schema: Default::default(),
        bound_to: vec![],
    };
    let description = json!({ "name": topic, "id": 1, "durability": "os", "retention_ms": null,
        "retention_bytes": null, "cleanup": "delete", "segment_bytes": null, "partitions": [] });
    let changed_at = json!({ "partition": 0, "offset": 0 });
    check("Problem", &Problem { code: String::new(), message: String::new() });
    let (version_text, stopped) = (String::new(), vec![]);
    let status =
        Status { version: version_text, topics: 0, partitions: 0, stopped, clock_alarm: None };
    check("Status", &status);
    let (wall, broker) = (Timestamp(0), Timestamp(0));
    check("ClockStatus", &ClockStatus { wall, broker, ahead_ms: 0, alarm: None });
    check("TopicSpec", &serde_json::from_value::<TopicSpec>(json!({ "name": "t" })).unwrap());
    check("TopicDescription", &serde_json::from_value::<TopicDescription>(description).unwrap());
    check("PartitionDescription", &PartitionDescription::default());
    check("JudgedCounts", &JudgedCounts::default());
    let report = BindingReport {
        topic: topic.clone(),
        binding: binding.clone(),
        total: PartitionReport::default(),
        partitions: vec![],
    };
    check("BindingReport", &report);
    check("PartitionReport", &PartitionReport::default());
    check("VerdictCounts", &VerdictCounts::default());
    check("Latency", &Latency::default());
    check("FuelUse", &FuelUse::default());
    check("BreakerReport", &BreakerReport::default());
    check("PluginLog", &PluginLog::default());
    let line = json!({ "at": 0, "level": "info", "source": "host", "topic": topic,
        "partition": null, "version": 1, "text": "" });
    check("PluginLine", &serde_json::from_value::<PluginLine>(line).unwrap());
    let (name, counted_since) = (plugin.clone(), Timestamp(0));
    let report = PluginReport { name, versions: vec![], counted_since, bindings: vec![] };
    check("PluginReport", &report);
    check("PluginDescription", &PluginDescription { name: plugin, versions: vec![] });
    check("PluginVersion", &version);
    check("Limits", &Limits::default());
    check("BindingSpec", &BindingSpec { dead_letter: Some(None), ..BindingSpec::default() });
    check("Binding", &binding);
    check("Chain", &Chain::default());
    let changes = serde_json::to_value(Limits::default()).unwrap();
    check("LimitChanges", &serde_json::from_value::<LimitChanges>(changes).unwrap());
    let chain = Chain::default();
    check(
        "ChainChange",
        &ChainChange { chain, since: vec![], pending: vec![], unmigrated: vec![] },
    );
    check("NotChanged", &NotChanged { partition: PartitionId(0), why: String::new() });
    check("ChangedAt", &serde_json::from_value::<ChangedAt>(changed_at).unwrap());
    let (group, partitions) = (GroupName::parse("g").unwrap(), vec![]);
    let reset = GroupReset { group: group.clone(), topic: topic.clone(), done: false, partitions };
    check("GroupReset", &reset);
    let at = json!({ "partition": 0, "from": 0, "committed": 0, "end": 0, "lag": 0, "holder": 1 });
    check("GroupPartition", &serde_json::from_value::<GroupPartition>(at).unwrap());
    let member = json!({ "member": 1, "client": null, "partitions": [] });
    check("GroupMember", &serde_json::from_value::<GroupMember>(member).unwrap());
    let spec = json!({ "topic": "t", "to": { "offset": 3 } });
    check("ResetSpec", &serde_json::from_value::<ResetSpec>(spec).unwrap());
    let (members, partitions) = (vec![], vec![]);
    check("GroupTopic", &GroupTopic { topic, generation: 0, members, partitions });
    check("GroupDescription", &GroupDescription { name: group.clone(), topics: vec![] });
    check("GroupSummary", &GroupSummary { name: group, topics: vec![], members: 0, lag: 0 });

    fn check(name: &str, sample: &impl Serialize) {
        let sample = serde_json::to_value(sample).unwrap();
        let schema = &document()["components"]["schemas"][name];
        let fields =
            |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(fields(&schema["properties"]), fields(&sample), "{name}");
    }
}

#[test]
fn the_documents_limits_are_the_contracts() {
    let described = &document()["components"]["schemas"]["Limits"]["properties"];
    for (limits, word) in [(Limits::default(), "default"), (Limits::MAX, "maximum")] {
        for (name, value) in serde_json::to_value(limits).unwrap().as_object().unwrap() {
            assert_eq!(&described[name][word], value, "{word} of {name}");
        }
    }
}

/// A door with routes of our own on a free port: what stands before the handlers needs no broker.
async fn door() -> std::net::SocketAddr {
    let route = |method, path, handler| Route { method, path, handler };
    let routes = vec![
        route(
            Method::GET,
            "/v1/topics/{topic}",
            get(async |Names(topic): Names<TopicName>| topic.to_string()),
        ),
        route(
            Method::POST,
            "/v1/topics",
            post(async |JsonBody(spec): JsonBody<TopicSpec>| spec.name.to_string()),
        ),
        route(
            Method::POST,
            "/v1/bytes",
            post(async |ComponentBody(bytes): ComponentBody| bytes.len().to_string()),
        ),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let guard = Guard::new(Token::new("secret"), address.ip());
    tokio::spawn(axum::serve(listener, router(routes, (), guard)).into_future());
    address
}

/// Sends one request and reads the answer's status and body.
async fn ask(line: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(door().await).await.unwrap();
    let request = format!(
        "{line} HTTP/1.1\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

const TOKEN: &str = "Host: localhost\r\nAuthorization: Bearer secret\r\n";

#[tokio::test]
async fn a_good_request_comes_through() {
    assert_eq!(ask("GET /v1/topics/a", TOKEN, "").await, (200, "a".into()));
    assert_eq!(ask("POST /v1/topics", TOKEN, r#"{"name":"t"}"#).await, (200, "t".into()));
    assert_eq!(ask("POST /v1/bytes", TOKEN, "wasm").await, (200, "4".into()));
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_one_sentence() {
    let (anonymous, foreign) =
        ("Host: localhost\r\n", "Host: evil.example\r\nAuthorization: Bearer secret\r\n");
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(1 << 20));
    for (line, headers, body, status, code, part) in [
        ("GET /v1/topics/a", anonymous, "", 401, "unauthenticated", "carries no token"),
        ("GET /nowhere", anonymous, "", 401, "unauthenticated", "carries no token"),
        ("GET /v1/topics/a", foreign, "", 403, "forbidden", "Host header"),
        ("GET /nowhere", TOKEN, "", 404, "unknown-path", "openapi.json"),
        ("PUT /v1/topics", TOKEN, "", 405, "unknown-method", "openapi.json"),
        ("GET /v1/topics/a%20b", TOKEN, "", 400, "invalid-request", "topic name"),
        ("GET /v1/topics/%FF", TOKEN, "", 400, "invalid-request", "UTF-8"),
        ("POST /v1/topics", TOKEN, "{", 400, "invalid-request", "EOF while parsing"),
        ("POST /v1/topics", TOKEN, r#"{"nam":"t"}"#, 400, "invalid-request", "unknown field `nam`"),
        ("POST /v1/topics", TOKEN, r#"{"name":"a/b"}"#, 400, "invalid-request", "topic name"),
        ("POST /v1/topics", TOKEN, &long, 413, "too-large", "1048576 bytes"),
    ] {
        let (found, answer) = ask(line, headers, body).await;
        let problem: Problem = serde_json::from_str(&answer).expect(line);
        assert_eq!((found, problem.code.as_str()), (status, code), "{line}: {}", problem.message);
        assert!(
            problem.message.contains(part) && !problem.message.contains('\n'),
            "{line}: {}",
            problem.message
        );
    }
}
