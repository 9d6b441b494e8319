//! A plugin on a path guards that path, in whichever spelling it is asked for: a request is refused, or meets the plugin,
//! or arrives at the upstream as a path that no server takes for the guarded one.

use odin_tests::h2raw::{self, H2Raw};
use odin_tests::{Builder, HttpBackend, Odin, PluginEntry, Protocol, Raw};

/// What the guest `reply` answers: the request has met the plugin.
const GUARDED: u16 = 418;

/// Spellings of `/admin` and of what is below it, for one server or another.
const SPELLINGS: [&str; 75] = [
    "/admin",
    "/admin/",
    "/admin/users",
    "/admin?x",
    "//admin",
    "///admin",
    "//admin//users",
    "/%61dmin",
    "/admi%6e",
    "/%61%64%6d%69%6E",
    "/x/../admin",
    "/x/y/../../admin",
    "/./admin",
    "/././admin/.",
    "/%2e/admin",
    "/%2E/admin",
    "/x/%2e%2e/admin/u",
    "/x/.%2e/admin",
    "/x/%2e./admin",
    "/../admin",
    "/%2e%2e/admin",
    "/x//..//admin",
    "/x/..//admin",
    "/x/..%2fadmin",
    "/x%2f..%2fadmin",
    "/x/..%2Fadmin",
    "/admin%2fusers",
    "/admin%2f",
    "/%2fadmin",
    "/x/%2e%2e%2fadmin",
    "/..%2fadmin",
    "/;x/admin",
    "/;/admin",
    "/.;/admin",
    "/.;x/admin",
    "/x/..;/admin",
    "/x/..;a=b/admin",
    "/x/%2e%2e;/admin",
    "/x/..%3b/admin",
    "/.%3Bx/admin",
    "/x/..%3f/admin",
    "/admin..;/",
    "/admin;x",
    "/admin;x=y/users",
    "/admin;/users",
    "/admin%3bx",
    "/admin%3Bx/users",
    "/admin%00",
    "/admin%00.css",
    "/%00/admin",
    "/admin%3fx",
    "/admin%3Fx/users",
    "/admin%23x",
    "/admin\\x",
    "/\\admin",
    "/x\\..\\admin",
    "/admin%5cusers",
    "/%5cadmin",
    "/x/..%5cadmin",
    "/admin%0a",
    "/admin%0d%0aX:y",
    "/admin%7f",
    "/%c0%afadmin",
    "/x/%c0%ae%c0%ae/admin",
    "/x/..%c0%afadmin",
    "/admin%c1%9cx",
    "/%e0%80%afadmin",
    "/%u002fadmin",
    "/%u0061dmin",
    "/%61dmin%",
    "/%6",
    "/admin%zz",
    "/x/./../admin/./",
    "/%2561dmin",
    "/x/..%252fadmin",
];

fn guarded() -> Builder {
    Odin::builder().plugin("reply").only_under("/admin")
}

/// What one spelling came to: the status, and the path that the upstream saw.
type Outcome = (u16, Option<String>);

async fn over_http1(odin: &Odin, target: &str) -> Outcome {
    let mut client = Raw::connect(odin.address("web")).await;
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    let response = client.response("GET").await.expect("an answer");
    (response.head.status(), arrived(&response.body))
}

async fn over_http2(odin: &Odin, target: &str) -> Outcome {
    let mut client = H2Raw::client(odin.address("web")).await;
    let fields: h2raw::Fields<'_> =
        &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", target.as_bytes())];
    client.send(h2raw::headers(1, fields, true)).await;
    let outcome = client.outcome(1).await;
    // A stream that is reset is refused as well as one that is answered by 400.
    (outcome.status().unwrap_or(400), arrived(&outcome.body))
}

fn arrived(body: &[u8]) -> Option<String> {
    let echo: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(echo["path"].as_str()?.to_string())
}

/// What servers make of a path: they decode it before they look at it, drop parameters, take `\` for `/`, stop at a NUL
/// or at a `?` that came encoded.
fn readings(path: &str) -> Vec<String> {
    let path = path.split('?').next().unwrap_or("");
    let decoded = decode(path);
    let parameterless = |path: &str| {
        path.split('/').map(|segment| segment.split(';').next().unwrap_or("")).collect::<Vec<_>>().join("/")
    };
    let mut all = vec![path.to_string(), decoded.clone(), parameterless(path), parameterless(&decoded)];
    all.push(decode(&parameterless(path)));
    let cut = |text: &String| text.split(['\0', '?', '#']).next().unwrap_or("").to_string();
    all.extend(all.clone().iter().map(cut));
    all.extend(all.clone().iter().map(|text| text.replace('\\', "/")));
    all.iter().map(|text| resolve(text)).collect()
}

fn decode(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        let code = (*first == b'%').then(|| others.get(..2)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        out.push(char::from(code.unwrap_or(*first)));
        rest = if code.is_some() { &others[2..] } else { others };
    }
    out
}

fn resolve(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn is_admin(path: &str) -> bool {
    readings(path).iter().any(|path| path == "/admin" || path.starts_with("/admin/"))
}

#[test]
fn the_readings_of_this_test_know_the_spellings() {
    for spelling in
        ["//admin", "/%61dmin", "/x/..%2fadmin", "/;x/admin", "/x/..;/admin", "/admin%00", "/\\admin", "/admin%3fx"]
    {
        assert!(is_admin(spelling), "{spelling}");
    }
    assert!(!is_admin("/x") && !is_admin("/administrator") && !is_admin("/%2561dmin"));
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_past_its_plugin() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let backend = HttpBackend::echo(upstream).await;
        let odin = guarded().upstream(upstream).target(&backend).start().await;
        let mut failures = Vec::new();
        for spelling in SPELLINGS {
            for (version, (status, path)) in
                [("HTTP/1", over_http1(&odin, spelling).await), ("HTTP/2", over_http2(&odin, spelling).await)]
            {
                let harmless = status == 200 && path.as_deref().is_some_and(|path| !is_admin(path));
                if !(matches!(status, 400 | GUARDED) || harmless) {
                    failures.push(format!("{spelling} over {version}: {status}, arrived as {path:?}"));
                }
            }
        }
        assert!(failures.is_empty(), "past the plugin:\n{}", failures.join("\n"));
        // In absolute form, too.
        assert_eq!(over_http1(&odin, "http://a//admin").await.0, GUARDED);
        assert_eq!(over_http1(&odin, "http://a:80/./admin").await.0, GUARDED);
        odin.stop().await;
    }
}

#[tokio::test]
async fn what_is_matched_is_what_is_sent() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = guarded().target(&backend).start().await;
    for (came, sent) in [
        ("/a/b?c=//d/../%61", "/a/b?c=//d/../%61"),
        ("//a/./b/../%7Ec", "/a/~c"),
        ("/a%20b%c3%a9", "/a%20b%C3%A9"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/x/..", "/"),
        ("/administrator", "/administrator"),
        ("/", "/"),
    ] {
        for outcome in [over_http1(&odin, came).await, over_http2(&odin, came).await] {
            assert_eq!(outcome, (200, Some(sent.to_string())), "{came}");
        }
    }
    odin.stop().await;
}

#[tokio::test]
async fn a_listener_may_keep_or_decode_slashes_and_turn_normalisation_off() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    for (line, came, status, sent) in [
        ("encoded-slashes = \"keep\"\n", "/a%2fb", 200, Some("/a%2Fb")),
        ("encoded-slashes = \"keep\"\n", "/x/..%2fadmin", 400, None),
        ("encoded-slashes = \"decode\"\n", "/a%2f%2fb", 200, Some("/a/b")),
        ("encoded-slashes = \"decode\"\n", "/x/..%2fadmin", GUARDED, None),
        ("path-normalization = \"off\"\n", "//a/%61/../b", 200, Some("//a/%61/../b")),
        ("path-normalization = \"off\"\n", "/admin", GUARDED, None),
    ] {
        let odin = guarded().in_listener(line).target(&backend).start().await;
        for outcome in [over_http1(&odin, came).await, over_http2(&odin, came).await] {
            assert_eq!(outcome, (status, sent.map(str::to_string)), "{line}{came}");
        }
        odin.stop().await;
    }
}

#[tokio::test]
async fn a_target_that_is_not_ascii_is_refused() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let odin = Odin::builder().target(&backend).start().await;
    for target in ["/é", "/a?é", "/a#b", "/a?b#c"] {
        assert_eq!(over_http1(&odin, target).await, (400, None), "{target}");
    }
    assert_eq!(over_http2(&odin, "/é").await.0, 400);
    odin.stop().await;
}

#[tokio::test]
async fn a_trailing_dot_or_a_default_port_does_not_hide_a_host_from_its_route() {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let guard = PluginEntry::new("reply");
    let builder = Odin::builder().target(&backend).plugin_file(guard);
    let config = builder.toml().replace(
        "cluster = \"web\"\nplugins = []\n",
        "cluster = \"web\"\n[[listeners.routes]]\nhost = \"admin.example.com\"\ncluster = \"web\"\nplugins = [\"reply\"]\n\
         [[listeners.routes]]\nhost = \"*.internal\"\ncluster = \"web\"\nplugins = [\"reply\"]\n",
    );
    let config = config.split("[plugins").next().unwrap_or("").to_string();
    let odin = Odin::builder().plugin_file("reply").with_config(config).start().await;
    for (host, status) in [
        ("admin.example.com", GUARDED),
        ("ADMIN.example.COM.", GUARDED),
        ("admin.example.com:80", GUARDED),
        ("admin.example.com.:80", GUARDED),
        ("a.internal.", GUARDED),
        ("a.internal.:8080", GUARDED),
        ("example.com", 200),
    ] {
        let mut client = Raw::connect(odin.address("web")).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let response = client.response("GET").await.expect("an answer");
        assert_eq!(response.head.status(), status, "{host}");
    }
    odin.stop().await;
}
