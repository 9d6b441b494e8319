//! What an exchange remembers: typed values from hook to hook and from plugin to plugin, private ones, those of the
//! connection, facts, limits, and the access log.

use http::Request;
use odin_tests::{BOTH, HttpBackend, Odin, Protocol, Script, body, echoed};

const VALUES: [(&str, &str, &str); 8] = [
    ("flag", "boolean true", "boolean:true"),
    ("off", "boolean false", "boolean:false"),
    ("count", "integer -9223372036854775808", "integer:-9223372036854775808"),
    ("large", "integer 9223372036854775807", "integer:9223372036854775807"),
    ("ratio", "float 0.125", "float:0.125"),
    ("name", "text grüße, Ödin", "text:grüße, Ödin"),
    ("empty", "text ", "text:"),
    ("raw", "bytes 00ff7f80", "bytes:00ff7f80"),
];

fn lines(verb: &str) -> Vec<String> {
    VALUES
        .iter()
        .map(
            |(name, value, _)| {
                if verb == "remember" { format!("remember {name} {value}") } else { format!("recall {name}") }
            },
        )
        .collect()
}

fn script_of(hooks: &[(&str, &[String])]) -> Script {
    hooks.iter().fold(Script::new(), |script, (hook, lines)| {
        script.on(hook, &lines.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

#[tokio::test]
async fn values_keep_their_types_from_hook_to_hook_and_from_plugin_to_plugin() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let recall = lines("recall");
        let sets = script_of(&[("request-headers", &lines("remember"))]);
        let reads = script_of(&[
            ("request-headers", &recall),
            ("balancer", &recall),
            ("request-body", &recall),
            ("response-headers", &recall),
            ("response-trailers", &recall),
            ("exchange-end", &recall),
        ]);
        let builder = Odin::builder().plugin(sets.plugin("sets")).plugin(reads.plugin("reads")).upstream(upstream);
        let odin = builder.balancer(reads.plugin("lb")).logging(&["trace"]).target(&backend).start().await;
        for downstream in BOTH {
            let path = format!("/types/{downstream:?}");
            let request = Request::post(&path).body(body::full("x")).unwrap();
            odin.connect_over(downstream).await.send(request).await.has_status(200);
            let trace = odin.trace(&path).await.join(" ");
            let all: Vec<_> = VALUES.iter().map(|(name, _, value)| format!("recall={name}={value}")).collect();
            let all = all.join(" ");
            for hook in [
                "reads.request-headers",
                "lb.balancer",
                "reads.request-body(1,end)",
                "reads.response-headers",
                "reads.response-trailers",
                "reads.exchange-end",
            ] {
                assert!(trace.contains(&format!("{hook} {all}")), "{hook} {downstream:?} {upstream:?}: {trace}");
            }
        }
    }
}

#[tokio::test]
async fn the_balancer_reads_what_a_plugin_has_left_for_it() {
    let (first, last) = (HttpBackend::named("first", Protocol::Http1), HttpBackend::named("last", Protocol::Http1));
    let (first, last) = (first.await, last.await);
    let builder = Odin::builder().plugin(Script::new().plugin("script")).balancer(Script::new().plugin("lb"));
    let odin = builder.target(&first).target(&last).start().await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        for (pick, name) in [("1", "last"), ("0", "first"), ("1", "last")] {
            let script = Script::new().on("request-headers", &[&format!("remember pick integer {pick}")]).field();
            let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
            client.send(request).await.has_status(200).has_field("backend", name);
        }
        // It was the exchange's, and is gone with it.
        client.get("/").await.has_status(200).has_field("backend", "first");
    }
}

#[tokio::test]
async fn private_values_are_seen_by_the_plugin_alone_that_set_them() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let secret = |value: &str| {
        let set = [format!("remember private:secret text {value}"), format!("remember shared text {value}")];
        let read = ["recall private:secret".to_string(), "recall shared".to_string()];
        script_of(&[("request-headers", &set), ("response-headers", &read)])
    };
    let reads = script_of(&[("response-headers", &["recall private:secret".to_string()])]);
    let builder =
        Odin::builder().plugin(reads.plugin("c")).plugin(secret("one").plugin("a")).plugin(secret("two").plugin("b"));
    let odin = builder.logging(&["trace", "shared"]).target(&backend).start().await;
    for downstream in BOTH {
        let path = format!("/private/{downstream:?}");
        odin.connect_over(downstream).await.get(&path).await.has_status(200);
        let trace = odin.trace(&path).await.join(" ");
        assert!(trace.contains("b.response-headers recall=private:secret=text:two recall=shared=text:two"), "{trace}");
        assert!(trace.contains("a.response-headers recall=private:secret=text:one recall=shared=text:two"), "{trace}");
        assert!(trace.contains("c.response-headers recall=private:secret=none"), "{trace}");
        let logged = odin.logged(&path).await;
        assert_eq!(logged["context"]["shared"], "two");
    }
    // Nor does the access log see them.
    let builder = Odin::builder().logging(&["private:secret"]).target(&backend);
    builder.refuses_to_start().await.says(&["private:secret", "access-log"]);
}

#[tokio::test]
async fn values_of_a_connection_are_seen_by_all_its_exchanges_and_no_others() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let odin = Odin::builder().plugin(Script::new().plugin("script")).upstream(upstream).target(&backend);
        let odin = odin.start().await;
        for downstream in BOTH {
            let ask = |script: &[&str]| {
                let lines = [script, &["recall who", "show x-seen"]].concat();
                let script = Script::new().on("request-headers", &lines).field();
                Request::get("/").header("x-script", script).body(body::empty()).unwrap()
            };
            let (mut one, mut two) = (odin.connect_over(downstream).await, odin.connect_over(downstream).await);
            let steps: [(bool, &[&str], &str); 9] = [
                (true, &[], "none"),
                (true, &["remember-on-connection who text one"], "text:one"),
                (true, &[], "text:one"),
                (false, &[], "none"),
                (false, &["remember-on-connection who text two"], "text:two"),
                (true, &[], "text:one"),
                // A value of the exchange hides it for this exchange; removed, it shows again.
                (true, &["remember who integer 7"], "integer:7"),
                (true, &["remember who integer 7", "forget who"], "text:one"),
                (true, &[], "text:one"),
            ];
            for (first, script, wanted) in steps {
                let client = if first { &mut one } else { &mut two };
                let seen = client.send(ask(script)).await.has_status(200).json();
                let trace = echoed(&seen, "x-seen").join("");
                assert!(trace.ends_with(&format!("recall=who={wanted}")), "{script:?} {downstream:?}: {trace}");
            }
        }
    }
}

#[tokio::test]
async fn facts_come_from_the_host_and_cannot_be_set() {
    for upstream in BOTH {
        let backend = HttpBackend::echo(upstream).await;
        let names = [
            "request-id",
            "client-address",
            "local-address",
            "listener",
            "route",
            "cluster",
            "endpoint",
            "attempt",
            "started",
            "elapsed",
            "bytes-received",
            "bytes-sent",
            "status",
            "tls",
            "error",
            "no-such-fact",
        ];
        let recall: Vec<_> = names.iter().map(|name| format!("recall odin.{name}")).collect();
        let forge = [
            "remember odin.client-address text 1.2.3.4:5".to_string(),
            "remember-on-connection odin.tls boolean true".to_string(),
            "remember odin.mine integer 1".to_string(),
            "forget odin.listener".to_string(),
        ];
        let script = script_of(&[("request-headers", &[&forge[..], &recall].concat()), ("exchange-end", &recall)]);
        let odin = Odin::builder().plugin(script.plugin("facts")).logging(&["trace", "odin.cluster", "odin.attempt"]);
        let odin = odin.upstream(upstream).target(&backend).start().await;
        for downstream in BOTH {
            let path = format!("/facts/{downstream:?}");
            let request = Request::post(&path).body(body::full("seven..")).unwrap();
            let response = odin.connect_over(downstream).await.send(request).await.has_status(200);
            let id = echoed(&response.json(), "x-request-id").join("");
            let trace = odin.trace(&path).await;
            let said = trace.join(" ");
            let mut answers = said.split("facts.exchange-end");
            let (first, last) = (answers.next().unwrap(), answers.next().unwrap());
            let fact = |part: &str, name: &str| {
                let found = part.split(&format!("recall=odin.{name}=")).nth(1);
                let found = found.unwrap_or_else(|| panic!("odin.{name}: {part}"));
                found.split(" recall=").next().unwrap().split(" facts.").next().unwrap().trim().to_string()
            };
            assert!(
                first.contains("remember=read-only remember-on-connection=read-only remember=read-only"),
                "{first}"
            );
            let logged = odin.logged(&path).await;
            let client = logged["client"].as_str().unwrap();
            for part in [first, last] {
                assert_eq!(fact(part, "request-id"), format!("text:{id}"));
                assert_eq!(fact(part, "client-address"), format!("text:{client}"));
                assert_eq!(fact(part, "local-address"), format!("text:{}", odin.address("web")));
                assert_eq!(fact(part, "listener"), "text:web");
                assert!(fact(part, "route").starts_with("text:"));
                assert_eq!(fact(part, "tls"), "boolean:false");
                assert_eq!((fact(part, "error"), fact(part, "no-such-fact")), ("none".to_string(), "none".to_string()));
            }
            assert_eq!((fact(first, "endpoint"), fact(first, "status")), ("none".to_string(), "none".to_string()));
            let endpoint = odin_tests::Target::address(&backend);
            assert_eq!(fact(last, "endpoint"), format!("text:{endpoint}"));
            assert_eq!(fact(last, "cluster"), "text:web");
            assert_eq!(
                (fact(last, "attempt"), fact(last, "status")),
                ("integer:1".to_string(), "integer:200".to_string())
            );
            assert_eq!(fact(last, "bytes-received"), "integer:7");
            assert_eq!(fact(last, "bytes-sent"), format!("integer:{}", response.body.len()));
            let number = |name| fact(last, name).strip_prefix("integer:").unwrap().parse::<i64>().unwrap();
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
            assert!(number("elapsed") > 0 && number("started") + number("elapsed") <= since, "{last}");
            assert!(since - number("started") < 60_000_000_000, "{last}");
            assert_eq!(logged["context"]["odin.cluster"], "web");
            assert_eq!(logged["context"]["odin.attempt"], 1);
        }
    }
}

#[tokio::test]
async fn count_and_bytes_are_limited_and_what_was_there_stays() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().plugin("context_hog").plugin(Script::new().plugin("script")).target(&backend);
    let odin = odin.start().await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        for _ in 0..3 {
            let script =
                Script::new().on("request-headers", &["remember x integer 1", "forget hog-0", "remember x integer 2"]);
            let script = script.on("response-headers", &["recall x", "recall hog-1", "show x-seen"]).field();
            let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
            let response = client.send(request).await.has_status(200);
            let seen = response.json();
            assert_eq!(echoed(&seen, "x-hog-values"), ["32 over-share"]);
            let bytes = echoed(&seen, "x-hog-bytes").join("");
            let (kilobytes, word) = bytes.split_once(' ').unwrap();
            assert!((28..=31).contains(&kilobytes.parse::<u32>().unwrap()) && word == "over-share", "{bytes}");
        }
        // Another connection begins with nothing.
        let script = Script::new().on("request-headers", &["recall no-such-value"]).field();
        let request = Request::get("/").header("x-script", script).body(body::empty()).unwrap();
        odin.connect_over(downstream).await.send(request).await.has_status(200);
    }
}

#[tokio::test]
async fn values_get_into_the_access_log_as_text_and_as_json() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let names = ["flag", "count", "ratio", "name", "quoted", "words", "missing"];
    let set = [
        "remember flag boolean true".to_string(),
        "remember count integer 42".to_string(),
        "remember ratio float 0.5".to_string(),
        "remember name text acme".to_string(),
        "remember quoted text a \"b\"\\c".to_string(),
        "remember words bytes 7b7d".to_string(),
    ];
    // The last word is that of the end of the exchange.
    let end = ["remember name text at-the-end".to_string()];
    let script = script_of(&[("request-headers", &set), ("exchange-end", &end)]);
    let json = Odin::builder().plugin(script.plugin("sets")).logging(&names).target(&backend).start().await;
    let text = Odin::builder().plugin(script.plugin("sets")).target(&backend);
    let text = text.section(&format!("[access-log]\ncontext = {names:?}")).start().await;
    for downstream in BOTH {
        let path = format!("/log/{downstream:?}");
        json.connect_over(downstream).await.get(&path).await.has_status(200);
        let logged = json.logged(&path).await;
        let wanted = serde_json::json!({
            "flag": true, "count": 42, "ratio": 0.5, "name": "at-the-end", "quoted": "a \"b\"\\c", "words": "{}",
        });
        assert_eq!(logged["context"], wanted, "{logged}");
        text.connect_over(downstream).await.get(&path).await.has_status(200);
        let line = text.access_log_contains(&[&path]).await;
        for pair in
            ["flag=true", "count=42", "ratio=0.5", r#"name="at-the-end""#, r#"quoted="a \"b\"\\c""#, r#"words="{}""#]
        {
            assert!(line.contains(&format!(" {pair}")), "{pair} in {line}");
        }
        assert!(!line.contains("missing"), "{line}");
    }
}
