//! A resolver that does not answer: a reload waits for it, and nobody else does.

use std::fs;

use odin_tests::{HttpBackend, Odin, Protocol, netns, script, within};
use tokio::net::UdpSocket;

#[test]
fn a_reload_that_waits_for_a_resolver_holds_nobody_up() {
    netns::run(async || {
        let backend = HttpBackend::named("a", Protocol::Http1).await;
        let deaf = UdpSocket::bind("127.0.0.1:53").await.unwrap();
        let resolver = tempfile::NamedTempFile::new().unwrap();
        // Longer than any test waits for anything.
        fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n").unwrap();
        let own = format!("mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"", resolver.path().display());
        let (_folder, script) = script(&format!("exec unshare -m sh -c '{own}' $ODIN \"$@\""));
        let odin = Odin::builder().target(&backend).binary(&script).start().await;

        let text = fs::read_to_string(odin.config_file()).unwrap();
        fs::write(odin.config_file(), text + "[clusters.slow]\nendpoints = [\"nobody.example:80\"]\n").unwrap();
        odin.hang_up();
        within("it is asked", deaf.recv_from(&mut [0; 512])).await.unwrap();
        odin.get("/").await.has_status(200);
        odin.admin("/clusters").await.has_status(200);
        odin.stop().await;
    });
}
