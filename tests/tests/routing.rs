//! Which route a request takes: exact host, then wildcard, then any; among those the longest path, by whole segments.

use http::Request;
use odin_tests::{HttpBackend, Odin, Protocol, Target, body};

async fn odin_with_routes(routes: &[(&str, &str, &str)], backends: &[(&str, &HttpBackend)]) -> Odin {
    let mut config =
        "workers = 1\nadmin = \"127.0.0.1:0\"\n[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n".to_string();
    for (host, path, cluster) in routes {
        config += "[[listeners.routes]]\n";
        if !host.is_empty() {
            config += &format!("host = \"{host}\"\n");
        }
        if !path.is_empty() {
            config += &format!("path = \"{path}\"\n");
        }
        config += &format!("cluster = \"{cluster}\"\n");
    }
    for (name, backend) in backends {
        config += &format!("[clusters.{name}]\nendpoints = [\"{}\"]\n", backend.address());
    }
    Odin::builder().with_config(config).start().await
}

#[tokio::test]
async fn the_most_specific_route_wins() {
    let (a, b, c, d) = (
        HttpBackend::named("any", Protocol::Http1).await,
        HttpBackend::named("api", Protocol::Http1).await,
        HttpBackend::named("v1", Protocol::Http1).await,
        HttpBackend::named("wild", Protocol::Http1).await,
    );
    let routes = [
        ("", "", "any"),
        ("api.example.com", "", "api"),
        ("api.example.com", "/v1", "v1"),
        ("*.example.com", "", "wild"),
        ("", "/v1/deep", "v1"),
    ];
    let odin = odin_with_routes(&routes, &[("any", &a), ("api", &b), ("v1", &c), ("wild", &d)]).await;
    for (host, path, name) in [
        ("other.test", "/", "any"),
        ("other.test", "/v1", "any"),
        ("other.test", "/v1/deep/er", "v1"),
        ("other.test", "/v1/deeper", "any"),
        ("api.example.com", "/", "api"),
        ("api.example.com", "/v1", "v1"),
        ("api.example.com", "/v1/", "v1"),
        ("api.example.com", "/v1/x?y=/z", "v1"),
        ("api.example.com", "/v1?x", "v1"),
        ("api.example.com", "/v10", "api"),
        ("API.Example.COM", "/v1", "v1"),
        ("api.example.com:8080", "/v1", "v1"),
        ("www.example.com", "/v1", "wild"),
        ("example.com", "/", "any"),
    ] {
        for mut client in [odin.connect().await, odin.connect_http2().await] {
            let request = Request::get(path).header("host", host).body(body::empty()).unwrap();
            let response = client.send(request).await.has_status(200);
            assert_eq!(response.field("backend").as_deref(), Some(name), "{host} {path}");
        }
    }
}

#[tokio::test]
async fn what_no_route_matches_is_a_404() {
    let a = HttpBackend::named("a", Protocol::Http1).await;
    let odin = odin_with_routes(&[("a.test", "/a", "a")], &[("a", &a)]).await;
    let mut client = odin.connect().await;
    for (host, path) in [("a.test", "/"), ("b.test", "/a"), ("a.test", "/ab")] {
        let request = Request::post(path).header("host", host).body(body::full("unread")).unwrap();
        client.send(request).await.has_status(404).has_body("odin: no route\n");
    }
    let request = Request::get("/a").header("host", "a.test").body(body::empty()).unwrap();
    client.send(request).await.has_status(200);
    assert_eq!(a.requests(), 1);
}

#[tokio::test]
async fn each_of_10000_routes_is_found() {
    let (even, odd) =
        (HttpBackend::named("even", Protocol::Http1).await, HttpBackend::named("odd", Protocol::Http1).await);
    let routes: Vec<(String, String, &str)> = (0..10_000)
        .map(|n| {
            let host = match n % 3 {
                0 => String::new(),
                1 => format!("h{}.example.com", n / 100),
                _ => format!("*.w{}.example.com", n / 100),
            };
            (host, format!("/some/path/{n}"), ["even", "odd"][n % 2])
        })
        .collect();
    let borrowed: Vec<_> = routes.iter().map(|(host, path, name)| (host.as_str(), path.as_str(), *name)).collect();
    let odin = odin_with_routes(&borrowed, &[("even", &even), ("odd", &odd)]).await;
    let mut client = odin.connect().await;
    for (host, path, name) in borrowed.iter().step_by(7) {
        let host = if host.is_empty() { "any.test".to_string() } else { host.replace('*', "x.y") };
        for (path, status) in [(path.to_string(), 200), (format!("{path}/deeper"), 200), (format!("{path}0000"), 404)] {
            let request = Request::get(&path).header("host", &host).body(body::empty()).unwrap();
            let response = client.send(request).await.has_status(status);
            assert!(status == 404 || response.field("backend").as_deref() == Some(name), "{host}{path}");
        }
    }
    // The same again, so that nothing changes: every route and connection is as it was.
    let config = std::fs::read_to_string(odin.config_file()).unwrap();
    odin.reload(&config).await.has_status(200);
    let request = Request::get("/some/path/9998/x").header("host", "a.w99.example.com").body(body::empty()).unwrap();
    assert_eq!(client.send(request).await.has_status(200).field("backend").as_deref(), Some("even"));
}

#[tokio::test]
async fn a_host_may_end_with_one_dot() {
    let (any, named) =
        (HttpBackend::named("any", Protocol::Http1).await, HttpBackend::named("named", Protocol::Http1).await);
    let routes = [("", "", "any"), ("a.test", "", "named"), ("*.b.test", "", "named")];
    let odin = odin_with_routes(&routes, &[("any", &any), ("named", &named)]).await;
    for (host, name) in [
        ("a.test.", "named"),
        ("A.Test.:8080", "named"),
        ("x.b.test.", "named"),
        ("a.test..", "any"),
        ("b.test.", "any"),
    ] {
        for mut client in [odin.connect().await, odin.connect_http2().await] {
            let request = Request::get("/").header("host", host).body(body::empty()).unwrap();
            let response = client.send(request).await.has_status(200);
            assert_eq!(response.field("backend").as_deref(), Some(name), "{host}");
        }
    }
}
