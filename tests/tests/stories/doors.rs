//! Who comes in at the admin door: whoever has the token, on every route, and nobody else.

use std::fs;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use weir_tests::broker::Broker;

#[tokio::test]
async fn every_route_wants_the_token() {
    let broker = Broker::start();
    let token = fs::read_to_string(broker.data_dir().join("admin.token")).unwrap();
    let wrong = token.trim().chars().rev().collect::<String>();
    let base = format!("http://{}", broker.admin_address());
    let http = Client::builder().no_proxy().build().unwrap();
    let openapi = http.get(format!("{base}/openapi.json")).bearer_auth(token.trim());
    let openapi: Value = openapi.send().await.unwrap().json().await.unwrap();

    let mut routes = 0;
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            // Names that exist nowhere: a request that comes in changes nothing.
            let url = base.clone()
                + &path
                    .replace("{topic}", "nowhere")
                    .replace("{plugin}", "nobody")
                    .replace("{version}", "1");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for (shown, comes_in) in
                [(None, false), (Some(wrong.as_str()), false), (Some(token.trim()), true)]
            {
                let request = http.request(method.clone(), &url);
                let request = match shown {
                    Some(token) => request.bearer_auth(token),
                    None => request,
                };
                let answer = request.send().await.unwrap();
                let status = answer.status();
                assert_eq!(
                    status != StatusCode::UNAUTHORIZED,
                    comes_in,
                    "{method} {path}: {status}"
                );
                assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                if !status.is_success() {
                    let problem: Value = answer.json().await.unwrap();
                    assert!(
                        problem["code"].is_string() && problem["message"].is_string(),
                        "{method} {path}: {problem}"
                    );
                    assert_ne!(problem["code"], "unknown-path", "{method} {path}");
                    assert_ne!(problem["code"], "internal", "{method} {path}: {problem}");
                }
            }
            routes += 1;
        }
    }
    assert!(10 < routes, "only {routes} routes are described");
}
