//! Plugins that send a request elsewhere: method, path, authority, scheme, cluster, another match of the routes.

use http::Request;
use odin_tests::{BOTH, Builder, HttpBackend, Odin, PluginEntry, Protocol, Script, Target, body, echoed};

/// Routes to `one` and below `/two` to `two`, both through this plugin; no route has the cluster `three`.
async fn three(upstream: Protocol, plugin: PluginEntry) -> (Odin, [HttpBackend; 3]) {
    let backends = [
        HttpBackend::named("one", upstream).await,
        HttpBackend::named("two", upstream).await,
        HttpBackend::named("three", upstream).await,
    ];
    let cluster = |name: &str, backend: &HttpBackend| {
        format!("[clusters.{name}]\nendpoints = [\"{}\"]\nprotocol = \"{}\"\n", backend.address(), upstream.name())
    };
    let config = format!(
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[access-log]\nformat = \"json\"\ncontext = [\"trace\"]\n\
         [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[listeners.routes]]\nhost = \"two.example\"\ncluster = \"two\"\nplugins = [\"plugin\"]\n\
         [[listeners.routes]]\npath = \"/two\"\ncluster = \"two\"\nplugins = [\"plugin\"]\n\
         [[listeners.routes]]\npath = \"/one\"\ncluster = \"one\"\nplugins = [\"plugin\"]\n{}{}{}",
        cluster("one", &backends[0]),
        cluster("two", &backends[1]),
        cluster("three", &backends[2])
    );
    let plugin = ["one", "two", "three"].into_iter().fold(plugin, |plugin, cluster| plugin.sending_to(cluster));
    let builder: Builder = Odin::builder().with_config(config).plugin_file(plugin.called("plugin"));
    (builder.start().await, backends)
}

fn rerouted(fields: &[(&str, &str)]) -> Request<body::Body> {
    let request = Request::post("/one?q=1").header("host", "asked.example");
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body::full("sent")).unwrap()
}

#[tokio::test]
async fn method_path_authority_and_scheme_are_what_the_plugin_says() {
    for upstream in BOTH {
        let (odin, _backends) = three(upstream, "reroute".into()).await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            let fields = [
                ("x-set-method", "PURGE"),
                ("x-set-path", "/two/new?q=2"),
                ("x-set-authority", "two.example:8080"),
                ("x-set-scheme", "https"),
            ];
            let seen = client.send(rerouted(&fields)).await.has_status(200).json();
            assert_eq!((&seen["method"], &seen["path"]), (&"PURGE".into(), &"/two/new?q=2".into()));
            match upstream {
                Protocol::Http1 => assert_eq!(echoed(&seen, "host"), ["two.example:8080"]),
                Protocol::Http2 => assert_eq!(seen["authority"], "two.example:8080"),
            }
            for (name, _) in fields {
                assert_eq!(echoed(&seen, &format!("{name}-was")), ["ok"], "{seen}");
            }
            // Path and authority alone change no route; the body goes where the head goes.
            assert_eq!((&seen["backend"], &seen["body"]), (&"one".into(), &"sent".into()));
        }
    }
}

#[tokio::test]
async fn what_is_no_method_path_authority_or_scheme_is_refused_and_changes_nothing() {
    for upstream in BOTH {
        let (odin, _backends) = three(upstream, "reroute".into()).await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            for (field, values) in [
                ("x-set-method", &["CONNECT", "NO GOOD", "", "a(b)"][..]),
                ("x-set-path", &["two", "", "/a b", "/a#b", "http://elsewhere/", "*"]),
                ("x-set-authority", &["a b", "a/b", "user@host", "[::1"]),
                ("x-set-scheme", &["ftp", "", "HTTPS://"]),
            ] {
                for value in values {
                    let seen = client.send(rerouted(&[(field, value)])).await.has_status(200).json();
                    let was = echoed(&seen, &format!("{field}-was"));
                    assert!(was.len() == 1 && was[0] != "ok", "{field}: {value:?} was {was:?}");
                    assert_eq!((&seen["method"], &seen["path"]), (&"POST".into(), &"/one?q=1".into()), "{value:?}");
                    match upstream {
                        Protocol::Http1 => assert_eq!(echoed(&seen, "host"), ["asked.example"]),
                        Protocol::Http2 => assert_eq!(seen["authority"], "asked.example"),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn the_cluster_is_chosen_and_the_last_call_counts() {
    for upstream in BOTH {
        let (odin, _backends) = three(upstream, Script::new().plugin("script")).await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            for (lines, wanted) in [
                (&["cluster three"][..], "three"),
                (&["cluster two", "cluster three", "cluster one"], "one"),
                (&["cluster three", "cluster nowhere"], "three"),
                (&["cluster three", "request.path /two", "rematch"], "two"),
                (&["request.path /two", "rematch", "cluster three"], "three"),
                (&["request.path /two/x"], "one"),
                (&["request.path /two/x", "rematch"], "two"),
                (&["request.path /twofold", "rematch"], "one"),
                (&["request.authority two.example", "rematch"], "two"),
                (&["request.path /nowhere", "rematch"], "one"),
            ] {
                let script = Script::new().on("request-headers", lines).field();
                let seen = client.send(rerouted(&[("x-script", &script)])).await;
                let seen = seen.has_status(200).json();
                assert_eq!(seen["backend"], wanted, "{lines:?} {downstream:?} to {upstream:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_cluster_and_a_path_without_a_route_are_errors_that_the_plugin_sees() {
    let (odin, _backends) = three(Protocol::Http1, "reroute".into()).await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        let seen = client.send(rerouted(&[("x-set-cluster", "nowhere")])).await.has_status(200).json();
        assert_eq!(echoed(&seen, "x-set-cluster-was"), ["unknown-cluster"]);
        let seen = client.send(rerouted(&[("x-set-path", "/nowhere"), ("x-rematch", "")])).await.json();
        assert_eq!((echoed(&seen, "x-rematch-was"), &seen["backend"]), (vec!["no-route".to_string()], &"one".into()));
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_granted_answers_like_one_that_is_not_there() {
    let backend = HttpBackend::named("web", Protocol::Http1).await;
    let secret = HttpBackend::named("secret", Protocol::Http1).await;
    let reroute = PluginEntry::new("reroute").sending_to("web");
    let odin = Odin::builder().plugin(reroute).cluster("secret", &secret).target(&backend).start().await;
    for downstream in BOTH {
        let mut client = odin.connect_over(downstream).await;
        for cluster in ["secret", "nowhere"] {
            let seen = client.send(rerouted(&[("x-set-cluster", cluster)])).await.has_status(200).json();
            assert_eq!(echoed(&seen, "x-set-cluster-was"), ["unknown-cluster"], "{cluster}");
            assert_eq!(seen["backend"], "web", "{cluster}");
        }
        let seen = client.send(rerouted(&[("x-set-cluster", "web")])).await.has_status(200).json();
        assert_eq!(echoed(&seen, "x-set-cluster-was"), ["ok"]);
    }
    assert_eq!(secret.requests(), 0);
    assert!(odin.plugin_status("reroute").await["grants"].as_array().unwrap().contains(&"cluster:web".into()));
    // A grant of a cluster that is not there is a mistake of the config.
    let wrong = Odin::builder().plugin(PluginEntry::new("reroute").sending_to("nowhere")).target(&backend);
    wrong.refuses_to_start().await.says(&["clusters[0]", "nowhere"]);
}

#[tokio::test]
async fn when_the_request_has_gone_it_is_too_late() {
    for upstream in BOTH {
        let (odin, _backends) = three(upstream, "reroute".into()).await;
        for downstream in BOTH {
            let fields = [("x-late", "yes"), ("x-set-method", "PUT"), ("x-set-path", "/x"), ("x-set-authority", "b")];
            let fields =
                [&fields[..], &[("x-set-cluster", "two"), ("x-set-scheme", "https"), ("x-rematch", "")]].concat();
            let response = odin.connect_over(downstream).await.send(rerouted(&fields)).await.has_status(200);
            for (name, _) in &fields[1..] {
                assert_eq!(response.field(&format!("{name}-was")).as_deref(), Some("too-late"), "{name}: {response:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_decides_where_its_request_goes_when_its_head_is_held() {
    for upstream in BOTH {
        let (odin, backends) = three(upstream, "body_probe".into()).await;
        for downstream in BOTH {
            let fields = [("x-mode", "hold field"), ("x-cluster", "three")];
            let seen = odin.connect_over(downstream).await.send(rerouted(&fields)).await.has_status(200).json();
            assert_eq!((&seen["backend"], &seen["body"]), (&"three".into(), &"sent".into()));
            assert_eq!(echoed(&seen, "x-body-length"), ["4"]);
            // Without the hold the head has gone.
            let fields = [("x-mode", "stream field"), ("x-cluster", "three")];
            let response = odin.connect_over(downstream).await.try_send(rerouted(&fields)).await;
            if let Ok(response) = response {
                response.has_status(502);
            }
        }
        assert_eq!(backends[2].requests(), 2);
    }
}

#[tokio::test]
async fn a_change_of_the_method_does_not_change_what_the_client_waits_for() {
    for upstream in BOTH {
        let (odin, _backends) = three(upstream, "reroute".into()).await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            let request = Request::head("/one").header("x-set-method", "GET").body(body::empty()).unwrap();
            client.send(request).await.has_status(200).has_body("").has_field("backend", "one");
            let request = Request::get("/one").header("x-set-method", "HEAD").body(body::empty()).unwrap();
            client.send(request).await.has_status(200).has_body("");
            // The connection is still in step.
            client.send(rerouted(&[])).await.has_status(200).has_field("backend", "one");
        }
    }
}

#[tokio::test]
async fn the_chosen_cluster_is_asked_in_its_own_way() {
    // Another protocol and another balancer than those of the route's cluster.
    for (of_route, chosen) in [(Protocol::Http1, Protocol::Http2), (Protocol::Http2, Protocol::Http1)] {
        let web = HttpBackend::named("web", of_route).await;
        let (first, last) = (HttpBackend::named("first", chosen).await, HttpBackend::named("last", chosen).await);
        let other = format!(
            "[clusters.other]\nendpoints = [\"{}\", \"{}\"]\nprotocol = \"{}\"\nbalancer = \"lb_last\"",
            first.address(),
            last.address(),
            chosen.name()
        );
        let reroute = PluginEntry::new("reroute").sending_to("other");
        let builder = Odin::builder().plugin(reroute).plugin("pass").plugin_file("lb_last").section(&other);
        let odin = builder.upstream(of_route).target(&web).start().await;
        for downstream in BOTH {
            let mut client = odin.connect_over(downstream).await;
            for (fields, name) in [(&[("x-set-cluster", "other")][..], "last"), (&[], "web")] {
                let seen = client.send(rerouted(fields)).await.has_status(200).json();
                assert_eq!((&seen["backend"], &seen["body"]), (&name.into(), &"sent".into()), "{downstream:?}");
                let version = if name == "web" { of_route } else { chosen };
                let version = if version == Protocol::Http1 { "HTTP/1.1" } else { "HTTP/2.0" };
                assert_eq!(seen["version"], version);
            }
        }
    }
}
