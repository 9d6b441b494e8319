//! Clients of other makes complete handshakes and requests: Node, Go, nginx and a browser. openssl, curl and Python have
//! tls_offers.rs.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use odin_tests::peers::{has, ran, tls_folder, told};
use odin_tests::tls::{Authority, Issued};
use odin_tests::{Connection, HttpBackend, Launch, Odin, Program, Protocol, ReservedPort, skipped, until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// An Odin for `localhost`, with a backend that answers what it was asked.
async fn serving(authority: &Authority) -> (Odin, Issued, HttpBackend) {
    let backend = HttpBackend::echo(Protocol::Http1).await;
    let issued = authority.issue(&["localhost"]);
    let tls = format!("tls = {{ certificates = [{}] }}", issued.pair());
    let builder = Odin::builder().target(&backend).in_listener(&tls).top("[access-log]\nformat = 'json'");
    (builder.start().await, issued, backend)
}

fn url(odin: &Odin) -> String {
    format!("https://localhost:{}/", odin.address("web").port())
}

#[tokio::test]
async fn node() {
    if !has("node") {
        return skipped("node, of Debian's package nodejs");
    }
    let authority = Authority::default();
    let (odin, _issued, _backend) = serving(&authority).await;
    let script = tls_folder().join("client.js");
    let told = told("node", &[script.to_str().unwrap(), &url(&odin), authority.file().to_str().unwrap()]).await;
    let agreed = |alpn: &str| json!({ "protocol": "TLSv1.3", "alpn": alpn, "status": 200 });
    assert_eq!(told, [agreed("http/1.1"), agreed("h2")]);
}

#[tokio::test]
async fn go() {
    let client = tls_folder().join(".venv/go-client");
    if !client.is_file() {
        return skipped("tests/tls/setup.sh, which `make peers` runs");
    }
    let authority = Authority::default();
    let (odin, _issued, _backend) = serving(&authority).await;
    let told = told(client, &[&url(&odin), authority.file().to_str().unwrap()]).await;
    let agreed = |alpn: &str, resumed: bool| json!({ "protocol": "TLS 1.3", "alpn": alpn, "group": "X25519MLKEM768", "resumed": resumed, "status": 200 });
    assert_eq!(told, [agreed("http/1.1", false), agreed("http/1.1", true), agreed("h2", false), agreed("h2", true)]);
}

#[tokio::test]
async fn nginx() {
    if !has("nginx") {
        return skipped("nginx, of Debian's package nginx-light");
    }
    let authority = Authority::default();
    let (odin, _issued, _backend) = serving(&authority).await;
    let (folder, port) = (TempDir::new().unwrap(), ReservedPort::reserve());
    let config = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n\
           client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};\n\
           scgi_temp_path {folder};\n  server {{ listen 127.0.0.1:{port};\n    location / {{\n\
               proxy_pass https://127.0.0.1:{odin}; proxy_ssl_verify on; proxy_ssl_trusted_certificate {roots};\n\
               proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;\n\
               proxy_set_header Host localhost;\n    }}\n  }}\n}}\n",
        folder = folder.path().display(),
        port = port.number(),
        odin = odin.address("web").port(),
        roots = authority.file().display(),
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let launch = Launch { binary: Some("nginx".into()), ..Launch::default() };
    let _nginx = Program::launch(&launch, ["-c", file.to_str().unwrap(), "-e", "stderr"]);
    let address = ([127, 0, 0, 1], port.number()).into();
    let mut client = until("nginx", || async { Connection::try_connect(Protocol::Http1, address).await.ok() }).await;
    for path in ["/first", "/second"] {
        client.get(path).await.has_status(200);
    }
    assert_eq!(odin.logged("/first").await["tls"]["version"], "TLSv1.3");
    // A connection for each request: the second one resumes the session.
    assert_eq!(odin.logged("/second").await["tls"]["resumed"], true);
}

#[tokio::test]
async fn a_browser() {
    let Some(browser) = ["chromium", "google-chrome"].into_iter().find(|name| has(name)) else {
        return skipped("chromium");
    };
    let authority = Authority::default();
    let (odin, issued, _backend) = serving(&authority).await;
    let profile = TempDir::new().unwrap();
    // The key is known to the browser, instead of who has signed it.
    let (_, leaf) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
    let key = BASE64_STANDARD.encode(Sha256::digest(leaf.public_key().raw));
    let page = format!("{}page", url(&odin));
    let flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        &format!("--user-data-dir={}", profile.path().display()),
        &format!("--ignore-certificate-errors-spki-list={key}"),
        &page,
    ];
    let shown = ran(browser, &flags).await;
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("x-forwarded-proto") && text.contains("https"), "{text}");
    let line: Value = odin.logged("/page").await;
    assert_eq!((&line["protocol"], &line["status"]), (&json!("HTTP/2.0"), &json!(200)));
    assert_eq!((&line["tls"]["version"], &line["tls"]["alpn"]), (&json!("TLSv1.3"), &json!("h2")), "{line}");
}
