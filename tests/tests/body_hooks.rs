//! What a plugin may do to the bodies of an exchange, and what both sides see of it: content, length, framing, order.

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{BOTH, HttpBackend, Odin, Protocol, Script, body, echoed, within};
use tokio::sync::mpsc;

/// Odin with one scripted plugin that takes its script from the request.
async fn scripted(upstream: Protocol, backend: &HttpBackend) -> Odin {
    let plugin = Script::new().plugin("script");
    Odin::builder().plugin(plugin).logging(&["trace"]).upstream(upstream).target(backend).start().await
}

/// A backend that answers `abcd` in two pieces of a chunked body.
async fn alphabet(protocol: Protocol) -> HttpBackend {
    HttpBackend::start(protocol, |request| async move {
        let _ = request.into_body().collect().await;
        Response::new(body::with_trailers(&["ab", "cd"], &[]))
    })
    .await
}

/// Lines of a body hook, and what becomes of `abcd`.
const ACTIONS: [(&[&str], &str); 9] = [
    (&["pass"], "abcd"),
    (&["upper"], "ABCD"),
    (&["more: replace _", "end: replace end"], "*end"),
    (&["more: pass", "end: append !"], "abcd!"),
    (&["drop"], ""),
    (&["more: hold", "upper"], "ABCD"),
    (&["hold"], "abcd"),
    (&["skip"], "abcd"),
    (&["more: drop", "end: replace all of it"], "all of it"),
];

/// Whether the body is what is wanted: a `*` at the beginning stands for any number of `_`.
fn fits(body: &str, wanted: &str) -> bool {
    match wanted.strip_prefix('*') {
        Some(wanted) => body.trim_start_matches('_') == wanted,
        None => body == wanted,
    }
}

#[tokio::test]
async fn a_stream_hook_decides_about_the_pieces_of_a_request() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = scripted(upstream, &backend).await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            for (lines, wanted) in ACTIONS {
                for known_length in [true, false] {
                    let script = Script::new().on("request-headers", &["read stream"]).on("request-body", lines);
                    let content =
                        if known_length { body::full("abcd") } else { body::with_trailers(&["ab", "cd"], &[]) };
                    let request = Request::post("/").header("x-script", script.field()).body(content).unwrap();
                    let seen = client.send(request).await.has_status(200).json();
                    let what =
                        format!("{lines:?} {downstream:?} to {upstream:?}, length known: {known_length}: {seen}");
                    assert!(fits(seen["body"].as_str().unwrap(), wanted), "{what}");
                    assert_eq!(seen["complete"], true, "{what}");
                    // The length may have changed: the upstream must not be told the old one.
                    assert!(echoed(&seen, "content-length").is_empty(), "{what}");
                    let chunked = if upstream == Protocol::Http1 { vec!["chunked"] } else { vec![] };
                    assert_eq!(echoed(&seen, "transfer-encoding"), chunked, "{what}");
                }
            }
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn a_stream_hook_decides_about_the_pieces_of_a_response() {
    for upstream in BOTH {
        let chunked = alphabet(upstream).await;
        let sized = HttpBackend::start(upstream, |_| async { Response::new(body::full("abcd")) }).await;
        for backend in [&chunked, &sized] {
            let odin = scripted(upstream, backend).await;
            for downstream in BOTH {
                let mut client = odin.connect_over(downstream).await;
                for (lines, wanted) in ACTIONS {
                    let script = Script::new().on("response-body", lines).field();
                    let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
                    let response = client.send(request).await.has_status(200).lacks_field("content-length");
                    assert!(fits(&response.text(), wanted), "{lines:?} {downstream:?} to {upstream:?}: {response:?}");
                }
            }
            odin.ends_without_errors().await;
        }
    }
}

#[tokio::test]
async fn each_piece_goes_on_before_the_next_one_comes() {
    for upstream in BOTH {
        let (sender, mut seen) = mpsc::unbounded_channel();
        let backend = HttpBackend::start(upstream, move |request| {
            let sender = sender.clone();
            async move {
                let mut incoming = request.into_body();
                while let Some(Ok(frame)) = incoming.frame().await {
                    let text = frame.into_data().map(|data| String::from_utf8_lossy(&data).into_owned());
                    let _ = sender.send(text.unwrap_or_default());
                }
                let _ = sender.send("the end".to_string());
                Response::new(body::empty())
            }
        })
        .await;
        let odin = scripted(upstream, &backend).await;
        for downstream in BOTH {
            let script = Script::new().on("request-body", &["3: drop", "4: hold", "upper"]).field();
            let (feed, content) = body::by_hand();
            let request = Request::post("/turns").header("x-script", script).body(content).unwrap();
            let mut client = odin.connect_over(downstream).await;
            let answer = tokio::spawn(async move { client.send(request).await });
            for (sent, arrives) in [("one", "ONE"), ("two", "TWO")] {
                assert!(feed.send(sent).await);
                assert_eq!(within("a piece at the backend", seen.recv()).await.unwrap(), arrives);
            }
            // The third is dropped, the fourth is held until the fifth. Whether they came one by one, only the hooks
            // know: the calls are counted there.
            assert!(feed.send("three").await && feed.send("four").await && feed.send("five").await);
            drop(feed);
            let mut rest = String::new();
            loop {
                match within("the rest at the backend", seen.recv()).await.unwrap().as_str() {
                    "the end" => break,
                    more => rest += more,
                }
            }
            assert!(["FOURFIVE", "FIVE", ""].contains(&rest.as_str()), "{rest:?}");
            within("the response", answer).await.unwrap().has_status(200);
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn a_buffered_body_comes_whole_and_its_head_does_not_wait() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = scripted(upstream, &backend).await;
        for (number, downstream) in BOTH.into_iter().enumerate() {
            let script = Script::new().on("request-headers", &["read buffer"]).on("request-body", &["upper"]);
            let (feed, content) = body::by_hand();
            let path = format!("/buffered/{number}");
            let request = Request::post(&path).header("x-script", script.field()).body(content).unwrap();
            let mut client = odin.connect_over(downstream).await;
            let answer = tokio::spawn(async move { client.send(request).await });
            assert!(feed.send("half and ").await);
            backend.has_seen(number + 1).await;
            assert!(feed.send("half").await);
            drop(feed);
            let seen = within("the response", answer).await.unwrap().has_status(200).json();
            assert_eq!(seen["body"], "HALF AND HALF", "{downstream:?} to {upstream:?}");
            let trace = odin.trace(&path).await;
            let calls: Vec<_> = trace.iter().filter(|word| word.contains("request-body")).collect();
            assert_eq!(calls, ["script.request-body(13,end)"]);
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn a_held_head_waits_for_the_body_and_may_still_be_changed() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = scripted(upstream, &backend).await;
        for (number, downstream) in BOTH.into_iter().enumerate() {
            let script = Script::new().on("request-headers", &["read hold"]);
            let lines = ["request.method PUT", "request.path /moved?by=body", "length x-length", "append !"];
            let script = script.on("request-body", &lines).field();
            let (feed, content) = body::by_hand();
            let request = Request::post("/held").header("x-script", script).body(content).unwrap();
            let mut client = odin.connect_over(downstream).await;
            let answer = tokio::spawn(async move { client.send(request).await });
            assert!(feed.send("half and ").await);
            // Another exchange runs from end to end meanwhile; the held one is not upstream yet.
            odin.get("/other").await.has_status(200);
            assert_eq!(backend.requests(), number * 2 + 1, "the head went upstream before its body was seen");
            assert!(feed.send("half").await);
            drop(feed);
            let seen = within("the response", answer).await.unwrap().has_status(200).json();
            assert_eq!((&seen["method"], &seen["path"]), (&"PUT".into(), &"/moved?by=body".into()));
            assert_eq!((seen["body"].as_str(), echoed(&seen, "x-length")), (Some("half and half!"), vec!["13".into()]));
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn a_held_response_may_change_its_status_and_its_fields() {
    for upstream in BOTH {
        let backend = alphabet(upstream).await;
        let odin = scripted(upstream, &backend).await;
        for downstream in BOTH {
            let script = Script::new().on("response-headers", &["read hold"]);
            let lines = ["response.status 418", "length x-length", "replace short"];
            let script = script.on("response-body", &lines).field();
            let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
            let response = odin.connect_over(downstream).await.send(request).await.has_status(418);
            response.has_field("x-length", "4").has_body("short");
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn a_body_that_was_seen_whole_has_a_length_again() {
    for upstream in BOTH {
        let backend = HttpBackend::start(upstream, |request| async move {
            let length = request.headers().get("content-length").map(|l| l.to_str().unwrap().to_string());
            let content = request.into_body().collect().await.unwrap().to_bytes();
            let text = format!("{} in {}", content.len(), length.as_deref().unwrap_or("?"));
            Response::new(body::full(text))
        })
        .await;
        // Without trailer hooks, so that nothing can follow the body.
        let hold = Script::new().on("request-headers", &["read hold"]).on("request-body", &["append !!"]);
        let hold = hold.on("response-headers", &["read hold"]).on("response-body", &["append ?"]);
        let builder = Odin::builder().plugin(hold.plugin_of_bodies("hold")).upstream(upstream);
        let odin = builder.target(&backend).start().await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            let request = Request::post("/").body(body::full("1234567890")).unwrap();
            let response = client.send(request).await.has_status(200).has_body("12 in 12?");
            response.has_field("content-length", "9");
            // A body where there was none.
            let response = client.get("/").await.has_status(200);
            response.has_body("2 in 2?").has_field("content-length", "7");
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn a_message_without_a_body_is_shown_to_those_alone_that_want_the_whole() {
    let backend = HttpBackend::start(Protocol::Http1, |_| async { Response::new(body::empty()) }).await;
    let odin = scripted(Protocol::Http1, &backend).await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        for (mode, calls) in [("skip", 0), ("stream", 0), ("buffer", 1), ("hold", 1)] {
            for (kind, content) in [("none", body::empty()), ("empty", body::full(""))] {
                let read = format!("read {mode}");
                let script = Script::new().on("request-headers", &[&read]).on("response-headers", &[&read]).field();
                let path = format!("/{mode}/{kind}/{downstream:?}");
                let method = if kind == "none" { "GET" } else { "POST" };
                let request = Request::builder().method(method).uri(&path).header("x-script", script);
                client.send(request.body(content).unwrap()).await.has_status(200).has_body("");
                let trace = odin.trace(&path).await;
                for hook in ["script.request-body(0,end)", "script.response-body(0,end)"] {
                    assert_eq!(trace.iter().filter(|word| *word == hook).count(), calls, "{hook} {path}: {trace:?}");
                }
                let bodies = trace.iter().filter(|word| word.contains("-body")).count();
                assert_eq!(bodies, 2 * calls, "{path}: {trace:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_response_that_cannot_have_a_body_gets_none_from_a_plugin() {
    for upstream in BOTH {
        let backend = HttpBackend::start(upstream, |request| async move {
            let status: u16 = request.uri().path()[1..].parse().unwrap();
            let mut response = Response::builder().status(status);
            if request.method() == http::Method::HEAD {
                response = response.header("content-length", "1000");
            }
            response.body(body::empty()).unwrap()
        })
        .await;
        let odin = scripted(upstream, &backend).await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            for mode in ["stream", "buffer", "hold"] {
                for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
                    let script = Script::new().on("response-headers", &[&format!("read {mode}")]);
                    let script = script.on("response-body", &["append smuggled"]).field();
                    let request = Request::builder().method(method).uri(format!("/{status}"));
                    let request = request.header("x-script", script).body(body::empty()).unwrap();
                    let response = client.send(request).await.has_status(status).has_body("");
                    if method == "HEAD" {
                        response.has_field("content-length", "1000");
                    }
                }
            }
        }
        odin.ends_without_errors().await;
    }
}
