//! What docs/tls.md says that Odin offers is what clients of other makes can get, and nothing else.

use std::collections::BTreeSet;

use odin_tests::peers::said;
use odin_tests::tls::Authority;
use odin_tests::tls::offered;
use odin_tests::{HttpBackend, Odin, Protocol};

#[tokio::test]
async fn suites_versions_and_groups_are_those_of_the_table() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let (rsa, ecdsa) = (authority.issue_rsa(&["a.test"]), authority.issue(&["a.test"]));
    let tls = format!("tls = {{ certificates = [{}, {}] }}", ecdsa.pair(), rsa.pair());
    let odin = Odin::builder().target(&backend).in_listener(&tls).start().await;
    let address = odin.address("web").to_string();
    let connect = async |more: &[&str]| {
        let common = ["s_client", "-connect", &address, "-servername", "a.test"];
        said("openssl", &[&common[..], more].concat()).await
    };
    let agreed = |text: &str| text.contains("Cipher is ") && !text.contains("Cipher is (NONE)");

    // All that this openssl can do, however weak.
    let all = said("openssl", &["ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]).await;
    let mut taken = BTreeSet::new();
    for suite in all.trim().split(':').filter(|suite| !suite.starts_with("TLS_")) {
        if agreed(&connect(&["-tls1_2", "-cipher", &format!("{suite}:@SECLEVEL=0")]).await) {
            taken.insert(suite.to_owned());
        }
    }
    assert_eq!(taken, offered(&["suites of TLS 1.2"]));
    let mut taken = BTreeSet::new();
    for suite in [
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_CCM_SHA256",
        "TLS_AES_128_CCM_8_SHA256",
    ] {
        if agreed(&connect(&["-tls1_3", "-ciphersuites", suite]).await) {
            taken.insert(suite.to_owned());
        }
    }
    assert_eq!(taken, offered(&["suites of TLS 1.3"]));
    for version in ["-tls1", "-tls1_1"] {
        let text = connect(&[version, "-cipher", "ALL:@SECLEVEL=0"]).await;
        assert!(!agreed(&text), "{version}: {text}");
    }
    for (group, taken) in
        [("X25519", true), ("P-256", true), ("P-384", true), ("P-521", false), ("X448", false), ("ffdhe2048", false)]
    {
        assert_eq!(agreed(&connect(&["-groups", group]).await), taken, "{group}");
    }
    // A client that asks for a new handshake in an old session is told no, and nothing else.
    let text = connect(&["-tls1_2"]).await;
    assert!(text.contains("Secure Renegotiation IS supported") && text.contains("Compression: NONE"), "{text}");
}

#[tokio::test]
async fn clients_of_other_makes_get_their_answers() {
    let (authority, backend) = (Authority::default(), HttpBackend::echo(Protocol::Http1).await);
    let large = HttpBackend::start(Protocol::Http1, |_| async {
        http::Response::new(odin_tests::body::full("0123456789abcdef".repeat(512 * 1024)))
    })
    .await;
    let tls = format!("tls = {{ certificates = [{}] }}", authority.issue(&["localhost"]).pair());
    let route = "routes = [{ path = '/large', cluster = 'large' }]";
    let odin = Odin::builder().target(&backend).in_listener(&tls).in_listener(route).cluster("large", &large);
    let odin = odin.start().await;
    let (port, ca) = (odin.address("web").port(), authority.file().display().to_string());
    let url = format!("https://localhost:{port}/");
    for (flag, version) in [("--http2", "200 2"), ("--http1.1", "200 1.1"), ("--tlsv1.3", "200 2")] {
        let format = "%{http_code} %{http_version}";
        let text = said("curl", &["-s", "-4", "-o", "/dev/null", "-w", format, flag, "--cacert", &ca, &url]).await;
        assert_eq!(text, version, "{flag}");
    }
    let content = "0123456789abcdef".repeat(512 * 1024);
    let file = authority.folder().join("content");
    std::fs::write(&file, &content).unwrap();
    let data = format!("@{}", file.display());
    for flag in ["--http2", "--http1.1"] {
        let echoed = said("curl", &["-s", "-4", flag, "--data-binary", &data, "--cacert", &ca, &url]).await;
        let echoed: serde_json::Value = serde_json::from_str(&echoed).unwrap();
        assert_eq!((&echoed["length"], &echoed["complete"]), (&content.len().into(), &true.into()), "{flag}");
        let large = format!("https://localhost:{port}/large");
        let size =
            said("curl", &["-s", "-4", flag, "-o", "/dev/null", "-w", "%{size_download}", "--cacert", &ca, &large])
                .await;
        assert_eq!(size, content.len().to_string(), "{flag}");
    }
    let script = format!(
        "import ssl, urllib.request as r\n\
         print(r.urlopen('https://localhost:{port}/python', context=ssl.create_default_context(cafile={ca:?})).status)"
    );
    assert_eq!(said("python3", &["-c", &script]).await.trim(), "200");
}
