//! What the admin client says over HTTP and makes of the answers, against a door of paper.
#![allow(clippy::unwrap_used, reason = "tests")]

use expect_test::{Expect, expect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use weir_client::{Admin, AdminError, ClientConfig, Secret};
use weir_wire::admin::{BindingSpec, Durability, TopicSpec};
use weir_wire::ids::{PluginName, TopicName};

/// Answers one request with `status` and `body`, and returns the request as text.
async fn door(
    status: &'static str,
    body: &'static str,
) -> (Admin, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig {
        broker: "127.0.0.1:1".parse().unwrap(),
        admin: format!("http://{}", listener.local_addr().unwrap()),
        ca_certificate: Vec::new(),
        token: Secret::new("s3cret"),
        server_name: "localhost".to_owned(),
    };
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !is_whole(&request) {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request was cut off");
        }
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (Admin::new(&config).unwrap(), heard)
}

/// Whether the body is there as well, as far as the head announces one.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.map_or(0, |length| length.parse().unwrap()) <= body.len()
}

/// The request's line, its token and its body.
fn check(request: &str, expected: Expect) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let line = head.lines().next().unwrap();
    let token = head.lines().find(|line| line.starts_with("authorization: ")).unwrap();
    expected.assert_eq(&format!("{line}\n{token}\n{body}\n"));
}

fn topic() -> TopicName {
    TopicName::parse("flights").unwrap()
}
fn plugin() -> PluginName {
    PluginName::parse("daily-limit").unwrap()
}

#[tokio::test]
async fn a_question_carries_the_token() {
    let answer = r#"{"version":"0.1.0","topics":2,"partitions":5,"stopped":[]}"#;
    let (admin, heard) = door("200 OK", answer).await;
    assert_eq!(admin.status().await.unwrap().partitions, 5);
    check(
        &heard.await.unwrap(),
        expect![[r#"
        GET /v1/status HTTP/1.1
        authorization: Bearer s3cret

    "#]],
    );
}

#[tokio::test]
async fn a_change_is_json() {
    let answer = r#"{"chain":{"revision":1,"bindings":[]},"since":[{"partition":0,"offset":9}]}"#;
    let (admin, heard) = door("200 OK", answer).await;
    let spec = BindingSpec { version: Some("1".into()), ..BindingSpec::default() };
    let change = admin.bind(&topic(), &plugin(), &spec).await.unwrap();
    assert_eq!(change.since[0].offset.0, 9);
    let request = heard.await.unwrap();
    assert!(request.starts_with("PUT /v1/topics/flights/chain/daily-limit HTTP/1.1"), "{request}");
    assert!(request.contains(r#""version":"1""#), "{request}");
}

#[tokio::test]
async fn a_version_is_one_segment_whatever_it_holds() {
    let (admin, heard) = door("204 No Content", "").await;
    admin.delete_plugin_version(&plugin(), "../../topics/flights?x").await.unwrap();
    check(
        &heard.await.unwrap(),
        expect![[r#"
        DELETE /v1/plugins/daily-limit/versions/..%2F..%2Ftopics%2Fflights%3Fx HTTP/1.1
        authorization: Bearer s3cret

    "#]],
    );
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_its_sentence() {
    let answer = r#"{"code":"topic-exists","message":"there is a topic flights already"}"#;
    let (admin, _heard) = door("409 Conflict", answer).await;
    let spec = TopicSpec {
        name: topic(),
        partitions: 1,
        durability: Durability::Durable,
        retention_ms: None,
        retention_bytes: None,
        cleanup: Default::default(),
        segment_bytes: None,
    };
    let error = admin.create_topic(&spec).await.unwrap_err();
    assert_eq!(error.code(), Some("topic-exists"));
    assert_eq!(error.to_string(), "there is a topic flights already (topic-exists)");
    assert!(matches!(error, AdminError::Refused { status: 409, .. }));
}

#[tokio::test]
async fn another_server_at_the_address_is_told_from_weir() {
    let (admin, _heard) = door("502 Bad Gateway", "<html>").await;
    let error = admin.topics().await.unwrap_err();
    assert!(matches!(error, AdminError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_one_sentence_and_the_token_is_in_no_text() {
    let (admin, heard) = door("200 OK", "").await;
    heard.abort();
    assert!(heard.await.is_err(), "the door is shut");
    let error = admin.status().await.unwrap_err();
    assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");
    let text = format!("{error} {error:?} {admin:?}");
    assert!(!text.contains("s3cret") && !error.to_string().contains('\n'), "{text}");
}

#[tokio::test]
async fn a_log_is_read_on_from_a_place() {
    let answer = r#"{"lines":[],"next":"7-3","more":false,"lost":2,"restarted":false}"#;
    let (admin, heard) = door("200 OK", answer).await;
    let wait = std::time::Duration::from_secs(20);
    let page = admin.plugin_log(&plugin(), Some("7-1"), Some(&topic()), wait).await.unwrap();
    assert_eq!((page.next.as_str(), page.lost), ("7-3", 2));
    check(
        &heard.await.unwrap(),
        expect![[r#"
            GET /v1/plugins/daily-limit/logs?wait_ms=20000&after=7-1&topic=flights HTTP/1.1
            authorization: Bearer s3cret

        "#]],
    );
}

#[tokio::test]
async fn a_pause_is_a_post_without_a_body() {
    let answer = r#"{"chain":{"revision":4,"bindings":[]},"since":[],"pending":[]}"#;
    let (admin, heard) = door("200 OK", answer).await;
    assert_eq!(admin.pause(&topic(), &plugin()).await.unwrap().chain.revision.0, 4);
    check(
        &heard.await.unwrap(),
        expect![[r#"
            POST /v1/topics/flights/chain/daily-limit/pause HTTP/1.1
            authorization: Bearer s3cret

        "#]],
    );
}
