//! Trailers that plugins read, add, change and remove, over every pair of versions.

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use odin_tests::{BOTH, HttpBackend, Odin, Protocol, Script, body, until};

/// Answers with the trailers that it received as its body, and with a body and the trailers that the path asks for.
async fn backend(protocol: Protocol) -> HttpBackend {
    HttpBackend::start(protocol, |request| async move {
        let with_trailers = request.uri().path() == "/with";
        let collected = request.into_body().collect().await.unwrap();
        let saw = collected.trailers().map(in_words).unwrap_or_default();
        let content = match with_trailers {
            true => body::with_trailers(&["body"], &[("x-down", "1")]),
            false => body::full("body"),
        };
        let mut response = Response::new(content);
        response.headers_mut().insert("x-saw", saw.parse().unwrap());
        if with_trailers {
            response.headers_mut().insert("trailer", "x-down".parse().unwrap());
        }
        response
    })
    .await
}

fn in_words(trailers: &HeaderMap) -> String {
    let mut all: Vec<_> = trailers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
    all.sort();
    all.join(",")
}

/// Sends a request with the trailer `x-up: 1`, or without any; answers what the backend saw and what came back.
async fn exchange(odin: &Odin, downstream: Protocol, script: &Script, trailers: bool) -> (String, String) {
    let content = match trailers {
        true => body::with_trailers(&["bo", "dy"], &[("x-up", "1")]),
        false => body::full("body"),
    };
    let request = Request::post(if trailers { "/with" } else { "/without" }).header("te", "trailers");
    let request = if trailers { request.header("trailer", "x-up") } else { request };
    let request = request.header("x-script", script.field()).body(content).unwrap();
    let response = odin.connect_over(downstream).await.send(request).await.has_status(200).has_body("body");
    let came = response.trailers.as_ref().map(in_words).unwrap_or_default();
    (response.field("x-saw").unwrap_or_default(), came)
}

#[tokio::test]
async fn trailers_are_added_changed_and_removed() {
    for upstream in BOTH {
        let backend = backend(upstream).await;
        let odin = Odin::builder().plugin(Script::new().plugin("script")).upstream(upstream).target(&backend);
        let odin = odin.start().await;
        for downstream in BOTH {
            let both =
                |up: &[&str], down: &[&str]| Script::new().on("request-trailers", up).on("response-trailers", down);
            let add = both(&["trailers.set x-more 2"], &["trailers.append x-more 3"]);
            let change = both(&["trailers.set x-up 9"], &["trailers.set x-down 9"]);
            let twice = both(&["trailers.append x-up 2"], &["trailers.append x-down 2"]);
            let remove = both(&["trailers.remove x-up"], &["trailers.remove x-down"]);
            let nothing = Script::new();
            for (script, trailers, up, down) in [
                (&nothing, true, "x-up=1", "x-down=1"),
                (&nothing, false, "", ""),
                (&add, false, "x-more=2", "x-more=3"),
                (&add, true, "x-more=2,x-up=1", "x-down=1,x-more=3"),
                (&change, true, "x-up=9", "x-down=9"),
                (&twice, true, "x-up=1,x-up=2", "x-down=1,x-down=2"),
                (&remove, true, "", ""),
                (&remove, false, "", ""),
            ] {
                let got = exchange(&odin, downstream, script, trailers).await;
                let what = format!("{} with {trailers}: {downstream:?} to {upstream:?}", script.field());
                assert_eq!((got.0.as_str(), got.1.as_str()), (up, down), "{what}");
            }
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn trailers_can_be_read_by_every_plugin_and_changed_for_the_next() {
    let backend = backend(Protocol::Http1).await;
    let first = Script::new().on("request-trailers", &["trailers.recall x-up", "trailers.set x-up 2"]);
    let second = Script::new().on("request-trailers", &["trailers.recall x-up"]);
    let builder = Odin::builder().plugin(first.plugin("first")).plugin(second.plugin("second"));
    let odin = builder.logging(&["trace"]).target(&backend).start().await;
    exchange(&odin, Protocol::Http1, &Script::new(), true).await;
    let trace = odin.trace("/with").await.join(" ");
    let wanted = "first.request-trailers trailers.recall=1 trailers.set=ok second.request-trailers trailers.recall=2";
    assert!(trace.contains(wanted), "{trace}");
}

#[tokio::test]
async fn bodies_that_are_held_or_changed_keep_their_trailers() {
    for upstream in BOTH {
        let backend = backend(upstream).await;
        let odin = Odin::builder().plugin(Script::new().plugin("script")).upstream(upstream).target(&backend);
        let odin = odin.start().await;
        for downstream in BOTH {
            for mode in ["skip", "stream", "buffer", "hold"] {
                let read = format!("read {mode}");
                let script = Script::new().on("request-headers", &[&read]).on("response-headers", &[&read]);
                let script = script.on("request-body", &["replace other"]).on("response-body", &["pass"]);
                let script = script.on("request-trailers", &["trailers.append x-more 2"]);
                let script = script.on("response-trailers", &["trailers.append x-more 3"]);
                let got = exchange(&odin, downstream, &script, true).await;
                let wanted = ("x-more=2,x-up=1".to_string(), "x-down=1,x-more=3".to_string());
                assert_eq!(got, wanted, "{mode}: {downstream:?} to {upstream:?}");
            }
        }
        odin.ends_without_errors().await;
    }
}

#[tokio::test]
async fn the_trailers_of_a_probe_count_its_calls() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("body_probe").logging(&["pieces", "status"]).target(&backend).start().await;
    for downstream in BOTH {
        let path = format!("/probe/{downstream:?}");
        let request = Request::post(&path).header("te", "trailers").header("x-mode", "stream upper, stream pass");
        let response = odin.connect_over(downstream).await.send(request.body(body::full("abc")).unwrap()).await;
        let seen = response.clone().has_status(200).json();
        assert_eq!(seen["body"], "ABC");
        let calls = seen["trailers"][0][1].as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(seen["trailers"][0][0], "x-probe-trailer");
        let back =
            response.trailers.as_ref().and_then(|t| t.get("x-probe-trailer")).expect("a trailer from the plugin");
        let back: u64 = back.to_str().unwrap().parse().unwrap();
        assert!(calls >= 1 && back >= 1, "{calls} and {back}");
        let logged = odin.logged(&path).await;
        assert_eq!(logged["context"]["pieces"], calls + back, "{logged}");
        assert_eq!(logged["context"]["status"], 200, "{logged}");
    }
}

#[tokio::test]
async fn an_exchange_with_trailers_ends_without_an_error() {
    for upstream in BOTH {
        let backend = backend(upstream).await;
        for plugin in [Some("pass"), Some("body_probe"), None] {
            let builder = plugin.into_iter().fold(Odin::builder(), |builder, plugin| builder.plugin(plugin));
            let odin = builder.logging(&["odin.error"]).upstream(upstream).target(&backend).start().await;
            for downstream in BOTH {
                exchange(&odin, downstream, &Script::new(), true).await;
            }
            for line in until("both lines", async || {
                let lines = odin.access_log().all();
                (lines.len() == 2).then_some(lines)
            })
            .await
            {
                assert!(!line.contains("error"), "{plugin:?} to {upstream:?}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn trailer_hooks_know_how_much_has_come_of_a_body_that_no_plugin_saw() {
    for protocol in BOTH {
        let backend = HttpBackend::start(protocol, |request| async move {
            request.into_body().collect().await.unwrap();
            Response::new(body::with_trailers(&["seven", ".."], &[("x-down", "1")]))
        })
        .await;
        let script = Script::new().on("request-headers", &["read skip"]).on("response-headers", &["read skip"]);
        let script = script.on("request-trailers", &["recall odin.bytes-received"]);
        let script = script.on("response-trailers", &["recall odin.bytes-sent"]);
        let odin = Odin::builder().plugin(script.plugin("script")).logging(&["trace"]).upstream(protocol);
        let odin = odin.target(&backend).start().await;
        let request = Request::post("/counted").body(body::with_trailers(&["ab", "c"], &[("x-up", "1")])).unwrap();
        odin.connect().await.send(request).await.has_status(200);
        let trace = odin.trace("/counted").await.join(" ");
        for told in ["recall=odin.bytes-received=integer:3", "recall=odin.bytes-sent=integer:7"] {
            assert!(trace.contains(told), "{protocol:?} upstream: no {told} in {trace}");
        }
    }
}
