//! What a plugin may decide in every phase, what the client sees of it over both versions, and what the log says.

use http::{Request, Response};
use http_body_util::BodyExt;
use odin_tests::{BOTH, Builder, HttpBackend, Odin, Protocol, Script, body, within};
use tokio::sync::{mpsc, watch};

fn scripted() -> Builder {
    Odin::builder().plugin(Script::new().plugin("script")).logging(&["trace"])
}

const REPLY: &str =
    r#"reply {"status": 203, "fields": [["x-by", "plugin"]], "body": "mine", "trailers": [["x-after", "too"]]}"#;

/// Hooks and their lines.
type Lines<'a> = &'a [(&'a str, &'a [&'a str])];

/// Phases of a request in which the upstream has not been asked yet: the hooks' lines before the decision.
const BEFORE_UPSTREAM: [(&str, Lines<'static>); 3] = [
    ("request-headers", &[]),
    ("request-body", &[("request-headers", &["read hold"])]),
    ("request-trailers", &[("request-headers", &["read hold"])]),
];

fn deciding(phase: &str, before: Lines<'_>, decision: &str) -> Script {
    before.iter().fold(Script::new(), |script, (hook, lines)| script.on(hook, lines)).on(phase, &[decision])
}

fn post(path: &str, script: &Script) -> Request<body::Body> {
    Request::post(path).header("te", "trailers").header("x-script", script.field()).body(body::full("sent")).unwrap()
}

#[tokio::test]
async fn before_the_upstream_is_asked_a_plugin_may_answer_refuse_or_cut() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = scripted().target(&backend).start().await;
    for downstream in BOTH {
        for (phase, before) in BEFORE_UPSTREAM {
            let path = |what: &str| format!("/{what}/{phase}/{downstream:?}");
            let mut client = odin.connect_over(downstream).await;
            for _ in 0..2 {
                let replied = client.send(post(&path("reply"), &deciding(phase, before, REPLY))).await.has_status(203);
                replied.has_field("x-by", "plugin").has_body("mine").has_trailer("x-after", "too");
            }
            let line = odin.logged(&path("reply")).await;
            assert_eq!((&line["status"], line.get("error")), (&203.into(), None), "{line}");
            let refused = client.send(post(&path("reject"), &deciding(phase, before, "reject wrong moon"))).await;
            let refused = refused.has_status(403).has_body("odin: refused\n");
            assert!(!format!("{refused:?}").contains("moon"), "{refused:?}");
            let line = odin.logged(&path("reject")).await;
            assert_eq!((&line["status"], &line["blame"]), (&403.into(), &"plugin".into()), "{line}");
            assert!(line["error"].as_str().unwrap().contains("wrong moon"), "{line}");

            let cut = client.try_send(post(&path("cut"), &deciding(phase, before, "cut bad luck"))).await;
            assert!(cut.is_err(), "{phase} {downstream:?}: {cut:?}");
            let line = odin.logged(&path("cut")).await;
            assert!(line["error"].as_str().is_some_and(|error| error.contains("bad luck")), "{line}");
            if downstream == Protocol::Http2 {
                // Only the stream ended.
                let replied = client.send(post(&path("after"), &deciding(phase, before, REPLY))).await;
                replied.has_status(203);
            }
        }
    }
    assert_eq!(backend.requests(), 0, "the upstream was asked: {:?}", backend.paths());
}

#[tokio::test]
async fn a_cut_over_http1_is_the_end_of_the_connection_without_a_byte() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("reply").target(&backend).start().await;
    let mut client = odin.connect_raw().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Cut: enough\r\n\r\n").await;
    let (rest, _) = client.rest().await;
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    odin.access_log_contains(&["enough"]).await;
}

#[tokio::test]
async fn in_the_middle_of_a_request_body_a_plugin_may_still_answer_when_the_upstream_has_not() {
    for upstream in BOTH {
        let (sender, mut ends) = mpsc::unbounded_channel();
        let backend = HttpBackend::start(upstream, move |request| {
            let sender = sender.clone();
            async move {
                let _ = sender.send(request.into_body().collect().await.is_ok());
                Response::new(body::full("from upstream"))
            }
        })
        .await;
        let odin = scripted().upstream(upstream).target(&backend).start().await;
        let mut asked = 0;
        for downstream in BOTH {
            for (decision, status, words) in [(REPLY, 203, "mine"), ("reject no", 403, "odin: refused\n")] {
                let (feed, content) = body::by_hand();
                let script = Script::new().on("request-body", &["1: pass", decision]).field();
                let request = Request::post("/").header("x-script", script).body(content).unwrap();
                let mut client = odin.connect_over(downstream).await;
                let answer = tokio::spawn(async move { client.send(request).await });
                assert!(feed.send("first").await);
                asked += 1;
                backend.has_seen(asked).await;
                feed.send("second").await;
                let response = within("the answer", answer).await.unwrap();
                response.has_status(status).has_body(words);
                let whole = within("the end of the body upstream", ends.recv()).await.unwrap();
                assert!(!whole, "{decision}: the upstream took it for whole: {downstream:?} to {upstream:?}");
            }
            let (feed, content) = body::by_hand();
            let script = Script::new().on("request-body", &["1: pass", "cut enough"]).field();
            let request = Request::post("/").header("x-script", script).body(content).unwrap();
            let mut client = odin.connect_over(downstream).await;
            let answer = tokio::spawn(async move { client.try_send(request).await });
            assert!(feed.send("first").await);
            asked += 1;
            backend.has_seen(asked).await;
            feed.send("second").await;
            let cut = within("the cut", answer).await.unwrap();
            assert!(cut.is_err(), "{downstream:?} to {upstream:?}: {cut:?}");
            assert!(!within("the end of the body upstream", ends.recv()).await.unwrap());
        }
        odin.no_exchange_is_left().await;
    }
}

#[tokio::test]
async fn in_the_middle_of_a_request_body_a_reply_cuts_when_the_upstream_has_answered() {
    for upstream in BOTH {
        let backend = HttpBackend::start(upstream, |request| async move {
            let (feed, content) = body::by_hand();
            tokio::spawn(async move {
                feed.send("answered early").await;
                let _ = request.into_body().collect().await;
                // Ends well, if it comes to that.
            });
            Response::new(content)
        })
        .await;
        let odin = scripted().upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            for decision in [REPLY, "reject no", "cut no"] {
                let (feed, content) = body::by_hand();
                let script = Script::new().on("request-body", &["1: pass", decision]).field();
                let request = Request::post("/").header("x-script", script).body(content).unwrap();
                let mut client = odin.connect_over(downstream).await;
                assert!(feed.send("first").await);
                let response = client.start(request).await;
                assert_eq!(response.status(), 200);
                let mut incoming = response.into_body();
                let first = within("the early answer", incoming.frame()).await.unwrap().unwrap();
                assert_eq!(first.into_data().unwrap(), "answered early");
                feed.send("second").await;
                let rest = within("the end of the response", incoming.collect()).await;
                assert!(rest.is_err(), "{decision} {downstream:?} to {upstream:?}: a response that was cut ends well");
            }
        }
        odin.no_exchange_is_left().await;
    }
}

#[tokio::test]
async fn a_response_may_be_replaced_refused_or_cut_while_the_client_has_seen_nothing() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = scripted().upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let hold: Lines<'_> = &[("response-headers", &["read hold"])];
            for (phase, before) in [("response-headers", &[][..]), ("response-body", hold), ("response-trailers", hold)]
            {
                let mut client = odin.connect_over(downstream).await;
                let path = |what: &str| format!("/{what}/{phase}/{downstream:?}");
                let replied = client.send(post(&path("reply"), &deciding(phase, before, REPLY))).await.has_status(203);
                replied.has_field("x-by", "plugin").has_body("mine").lacks_field("backend");
                let refused = client.send(post(&path("reject"), &deciding(phase, before, "reject secret"))).await;
                let refused = refused.has_status(403).lacks_field("backend");
                assert!(!refused.text().contains("secret"), "{refused:?}");
                let line = odin.logged(&path("reject")).await;
                assert!(line["error"].as_str().is_some_and(|error| error.contains("secret")), "{line}");
                let cut = client.try_send(post(&path("cut"), &deciding(phase, before, "cut now"))).await;
                assert!(cut.is_err(), "{phase} {downstream:?} from {upstream:?}: {cut:?}");
                let line = odin.logged(&path("cut")).await;
                assert!(line["error"].as_str().is_some_and(|error| error.contains("now")), "{line}");
            }
        }
        odin.no_exchange_is_left().await;
    }
}

#[tokio::test]
async fn in_the_middle_of_a_response_every_end_is_a_visible_cut() {
    for upstream in BOTH {
        let (release, released) = watch::channel(0);
        let backend = HttpBackend::start(upstream, move |_| {
            let (feed, content) = body::by_hand();
            let mut released = released.clone();
            released.mark_unchanged();
            tokio::spawn(async move {
                feed.send("first").await;
                let _ = released.changed().await;
                feed.send("second").await;
            });
            async { Response::new(content) }
        })
        .await;
        let odin = scripted().upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            for decision in [REPLY, "reject no", "cut no", "err broken", "trap"] {
                for (phase, line) in
                    [("response-body", format!("2: {decision}")), ("response-trailers", decision.to_string())]
                {
                    let script = Script::new().on(phase, &[&line]).field();
                    let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
                    let response = odin.connect_over(downstream).await.start(request).await;
                    assert_eq!(response.status(), 200);
                    let mut incoming = response.into_body();
                    let first = within("the first piece", incoming.frame()).await.unwrap().unwrap();
                    assert_eq!(first.into_data().unwrap(), "first");
                    release.send_modify(|turn| *turn += 1);
                    let rest = within("the end of the response", incoming.collect()).await;
                    assert!(rest.is_err(), "{line} in {phase}: {downstream:?} from {upstream:?}: it ends well");
                }
            }
        }
        odin.no_exchange_is_left().await;
    }
}

#[tokio::test]
async fn a_failure_in_a_phase_is_502_or_goes_on_without_the_plugin() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let phases = ["request-headers", "request-body", "request-trailers", "response-headers"];
    for open in [false, true] {
        let plugin = Script::new().plugin("script").with("breaker = { percent = 0 }");
        let plugin = if open { plugin.with("on-failure = \"open\"") } else { plugin };
        let odin = Odin::builder().plugin(plugin).plugin("headers").target(&backend).start().await;
        for downstream in BOTH {
            for phase in phases {
                for failure in ["err in words", "trap"] {
                    let hold = if phase == "request-headers" { failure } else { "read hold" };
                    let script = Script::new().on("request-headers", &[hold]).on(phase, &[failure]);
                    let response = odin.connect_over(downstream).await.send(post("/", &script)).await;
                    if open {
                        let response = response.has_status(200).has_field("x-odin-response", "yes");
                        assert_eq!(response.json()["body"], "sent", "{phase} {failure}");
                    } else {
                        response.has_status(502).has_body("odin: plugin failed\n");
                    }
                }
                odin.log_contains(&["script", phase, "in words"]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_reply_is_a_response_like_any_other() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = scripted().target(&backend).start().await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        let script = |reply: &str| Script::new().on("request-headers", &[reply]).field();
        let plain = r#"reply {"status": 200, "body": "four"}"#;
        for method in ["GET", "POST", "HEAD", "OPTIONS"] {
            let request = Request::builder().method(method).uri("/").header("x-script", script(plain));
            let response = client.send(request.body(body::empty()).unwrap()).await.has_status(200);
            response.has_body(if method == "HEAD" { "" } else { "four" });
        }
        for status in [204, 304] {
            let reply = format!(r#"reply {{"status": {status}, "body": "not allowed here"}}"#);
            let request = Request::get("/").header("x-script", script(&reply)).body(body::empty()).unwrap();
            // Either it is sent without the body, or the plugin failed: never a body that the client takes for the next response.
            let response = client.send(request).await;
            assert!([status, 502].contains(&response.status.as_u16()), "{response:?}");
            let request = Request::get("/").header("x-script", script(plain)).body(body::empty()).unwrap();
            client.send(request).await.has_status(200).has_body("four");
        }
        for status in [0, 100, 101, 199, 600, 999] {
            let reply = format!(r#"reply {{"status": {status}}}"#);
            let request = Request::get("/").header("x-script", script(&reply)).body(body::empty()).unwrap();
            client.send(request).await.has_status(502);
        }
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn behind_a_streamed_body_a_trailer_hook_may_still_answer_when_the_upstream_has_not() {
    for upstream in BOTH {
        let (sender, mut ends) = mpsc::unbounded_channel();
        let backend = HttpBackend::start(upstream, move |request| {
            let sender = sender.clone();
            async move {
                let _ = sender.send(request.into_body().collect().await.is_ok());
                Response::new(body::full("from upstream"))
            }
        })
        .await;
        let odin = scripted().upstream(upstream).target(&backend).start().await;
        for (turn, downstream) in BOTH.into_iter().enumerate() {
            for (number, (decision, status)) in
                [(REPLY, 203), ("reject no", 403), ("err no", 502)].into_iter().enumerate()
            {
                let (feed, content) = body::by_hand();
                let script = Script::new().on("request-trailers", &[decision]).field();
                let request = Request::post("/").header("x-script", script).body(content).unwrap();
                let mut client = odin.connect_over(downstream).await;
                let answer = tokio::spawn(async move { client.send(request).await });
                assert!(feed.send("first").await);
                backend.has_seen(turn * 3 + number + 1).await;
                drop(feed);
                within("the answer", answer).await.unwrap().has_status(status);
                let whole = within("the end of the body upstream", ends.recv()).await.unwrap();
                assert!(!whole, "{decision}: the upstream took it for whole: {downstream:?} to {upstream:?}");
            }
        }
        odin.no_exchange_is_left().await;
    }
}
