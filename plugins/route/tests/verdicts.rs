//! The rule's promises, as sentences: what an operator configures, what goes where.

use route::Route;
use weir_plugin::{Event, Filter, Verdict, fake};

/// The verdict on an event, and what was sent: topic, key, value.
fn judge(config: &str, event: Event) -> (Verdict, Vec<(String, Option<String>, String)>) {
    let mut rule =
        Route::configure(config).map_err(|why| format!("{config}: {why}")).expect("a config");
    let mut host = fake::Host {
        now: 9,
        topic: "bookings".into(),
        publisher: "client:web".into(),
        ..fake::Host::default()
    };
    let headers = event.headers.clone();
    let verdict = host.judge(&mut rule, event);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let sent = host.emitted.into_iter().map(|(topic, event)| {
        assert_eq!((event.timestamp, &event.headers), (7, &headers));
        (topic, event.key.map(text), text(event.value))
    });
    (verdict, sent.collect())
}

fn event(value: &str) -> Event {
    Event::new(value).key("k").with_header("h", "v").timestamp_ms(7)
}

fn sent(topic: &str, key: Option<&str>, value: &str) -> (String, Option<String>, String) {
    (topic.into(), key.map(str::to_owned), value.into())
}

#[test]
fn a_copy_goes_where_the_rule_says() {
    let config =
        r#"{"rules":[{"when":{"at":"/status","equals":"cancelled"},"emit":"cancellations"}]}"#;
    let cancelled = r#"{"status": "cancelled", "n":1.50}"#;
    assert_eq!(
        judge(config, event(cancelled)),
        (Verdict::Accept, vec![sent("cancellations", Some("k"), cancelled)])
    );
    for other in [r#"{"status":"booked"}"#, "{}", "cancelled", ""] {
        assert_eq!(judge(config, event(other)), (Verdict::Accept, vec![]), "{other}");
    }
}

#[test]
fn the_first_rule_that_holds_is_followed_or_all_are() {
    let rules = r#"[
        {"when":[{"at":"/n",">=":100},{"at":"/paid","equals":true}],"emit":"large","key":"/user"},
        {"when":{"at":"/n",">=":10},"emit":"medium","key":"publisher"},
        {"emit":"rest","drop":true}]"#;
    let value = r#"{"n":100,"paid":true}"#;
    let large = sent("large", None, value);
    let medium = sent("medium", Some("client:web"), value);
    let rest = sent("rest", Some("k"), value);
    let of = |how: &str| format!(r#"{{"match":"{how}","rules":{rules}}}"#);
    assert_eq!(judge(&of("first"), event(value)), (Verdict::Accept, vec![large.clone()]));
    assert_eq!(judge(&of("all"), event(value)), (Verdict::Drop, vec![large, medium, rest]));
    let small = sent("rest", Some("k"), "no JSON");
    assert_eq!(judge(&of("first"), event("no JSON")), (Verdict::Drop, vec![small]));
}

#[test]
fn a_template_is_filled_with_what_was_written() {
    let config = r#"{"rules":[{"emit":"notices","key":"/user/id","value":{
        "kind":"notice","list":[1,{"$from":"/items/1"},[],{}],"none":{"$from":"/none"},
        "by":{"$from":"publisher"},"from":{"$from":"topic"},"key":{"$from":"key"},
        "at":{"$from":"timestamp"},"now":{"$from":"now"},"user":{"$from":"/user"}}}]}"#;
    let value = r#"{"user":{"id":7.0,  "name":"\u0041"},"items":[0,1.10]}"#;
    let filled = r#"{"at":7,"by":"client:web","from":"bookings","key":"k","kind":"notice","list":[1,1.10,[],{}],"none":null,"now":9,"user":{"id":7.0,  "name":"\u0041"}}"#;
    assert_eq!(judge(config, event(value)).1, [sent("notices", Some("7"), filled)]);
    let config = r#"{"rules":[{"emit":"notices","value":{"$from":"/user"}}]}"#;
    assert_eq!(judge(config, event("no JSON")).1, [sent("notices", Some("k"), "null")]);
}

#[test]
fn a_rule_may_only_drop() {
    let config = r#"{"rules":[{"when":{"at":"/test","exists":true},"drop":true}]}"#;
    assert_eq!(judge(config, event(r#"{"test":null}"#)), (Verdict::Drop, vec![]));
    assert_eq!(judge(config, event("{}")), (Verdict::Accept, vec![]));
}
