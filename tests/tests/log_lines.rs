//! What a line of the access log tells, and that no peer can forge one or move the cursor of whoever reads it.

use http::Request;
use odin_tests::{Builder, HttpBackend, Odin, PluginEntry, Protocol, Raw, body};
use serde_json::Value;

fn json(builder: Builder) -> Builder {
    builder.section("[access-log]\nformat = \"json\"\nfields = [\"user-agent\", \"referer\"]")
}

/// What terminals, editors and log readers act on, as a client may send it in a field.
const HOSTILE: &str = "a\"b\\\u{9b}2J\u{85}\u{2028}\u{202e}x";

#[tokio::test]
async fn a_line_of_text_begins_with_the_time_and_names_the_request() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().section("[access-log]\nfields = [\"user-agent\"]").target(&backend).start().await;
    let request = Request::get("/named").header("user-agent", HOSTILE.as_bytes()).body(body::empty()).unwrap();
    let answer = odin.request(request).await.has_status(200).json();
    let id = odin_tests::echoed(&answer, "x-request-id").remove(0);
    let line = odin.access_log_contains(&["/named"]).await;
    let time = line.split(' ').next().unwrap();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
    assert!(line.contains(&format!(" id={id}")), "{line}");
    assert!(line.is_ascii() && line.contains(r#" user-agent="a\"b\\\u009b2J\u0085\u2028\u202ex""#), "{line}");
}

#[tokio::test]
async fn no_target_breaks_a_line_or_forges_one() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    for target in ["/a\"b", "/a%22\"%20200%200B", "/\u{9b}2J", "/\u{202e}x", "/a\\b"] {
        let mut client = odin.connect_raw().await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        client.response("GET").await.expect("an answer");
    }
    odin.get("/last").await.has_status(200);
    odin.access_log_contains(&["/last"]).await;
    let lines = odin.access_log().all();
    assert_eq!(lines.len(), 6, "{lines:#?}");
    for line in lines {
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
        // The request is what stands between the first quote and the next one that is not escaped.
        let quoted = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(quoted.split('"').next().unwrap().split(' ').count(), 3, "{line}");
    }
}

#[tokio::test]
async fn json_holds_nothing_that_an_editor_acts_on() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = json(Odin::builder()).target(&backend).start().await;
    let request = Request::get("/json").header("user-agent", HOSTILE.as_bytes()).header("referer", "r");
    odin.request(request.body(body::empty()).unwrap()).await.has_status(200);
    let line = odin.access_log_contains(&["/json"]).await;
    assert!(line.chars().all(|c| !matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}'..='\u{202e}')), "{line:?}");
    let read: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!((&read["fields"]["user-agent"], &read["fields"]["referer"]), (&HOSTILE.into(), &"r".into()));
}

#[tokio::test]
async fn a_refused_request_is_logged_as_far_as_it_was_read() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    for format in ["text", "json"] {
        let log = format!("[access-log]\nformat = \"{format}\"");
        let odin = Odin::builder().section(&log).target(&backend).start().await;
        for (request, told) in [
            ("BREW /pot HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", "/pot"),
            ("GET /late HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "/late"),
            ("CONNECT somewhere:443 HTTP/1.1\r\nHost: somewhere:443\r\n\r\n", "CONNECT"),
        ] {
            let mut client = Raw::connect(odin.address("web")).await;
            client.send(request).await;
            assert!(client.response("GET").await.expect("an answer").head.status() >= 400);
            odin.access_log_contains(&[told]).await;
        }
        let line = odin.access_log_contains(&["/pot"]).await;
        match format {
            "text" => assert!(line.contains(r#""BREW /pot HTTP/1.1" 400"#), "{line}"),
            _ => {
                let read: Value = serde_json::from_str(&line).expect("a line of JSON");
                assert_eq!((&read["method"], &read["path"]), (&"BREW".into(), &"/pot HTTP/1.1".into()), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_line_tells_which_plugin_answered() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let guard = PluginEntry::new("reply").called("guard");
    let odin = Odin::builder().plugin(guard).section("[access-log]\nformat = \"json\"").target(&backend).start().await;
    for (path, field) in [
        ("/replied", ("x-none", "")),
        ("/rejected", ("x-reject", "no")),
        ("/cut", ("x-cut", "no")),
        ("/failed", ("x-status", "101")),
        ("/late", ("x-late", "1")),
    ] {
        let mut client = odin.connect_raw().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{}: {}\r\n\r\n", field.0, field.1)).await;
        let line = odin.logged(path).await;
        assert_eq!(line["answered_by"], "guard", "{line}");
    }
    let mut client = odin.connect_raw().await;
    client.send("GET /passed HTTP/1.1\r\nHost: a\r\nX-Pass: 1\r\n\r\n").await;
    assert_eq!(odin.logged("/passed").await["answered_by"], Value::Null);
}
