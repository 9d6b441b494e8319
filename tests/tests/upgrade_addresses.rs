//! Addresses that an upgrade changes, though the old process has their ports. In network namespaces: the ports are fixed.

use std::fs;

use odin_tests::{Connection, HttpBackend, Odin, Target, netns};

/// The listener `web` at this address, and the admin pages at that one.
fn config(web: &str, admin: &str, backend: &HttpBackend) -> String {
    format!(
        "workers = 2\nadmin = \"{admin}\"\nsteering = \"bind\"\n\
         [[listeners]]\nname = \"web\"\naddress = \"{web}\"\ncluster = \"web\"\n\
         [clusters.web]\nendpoints = [\"{}\"]\n",
        backend.address(),
    )
}

#[test]
fn a_bound_address_may_become_a_wider_one_and_a_narrower_one() {
    netns::run(async || {
        let backend = HttpBackend::saying("ok").await;
        let odin = Odin::builder().with_config(config("127.0.0.1:8000", "127.0.0.1:0", &backend)).start().await;
        for (web, dialled) in
            [("0.0.0.0:8000", "127.0.0.2:8000"), ("[::]:8000", "[::1]:8000"), ("127.0.0.1:8000", "127.0.0.1:8000")]
        {
            // Before the watch over the file has told the old one.
            fs::write(odin.config_file(), config(web, "127.0.0.1:0", &backend)).unwrap();
            odin.upgrade().await;
            Connection::http1(dialled.parse().unwrap()).await.get("/").await.has_status(200).has_body("ok");
        }
        odin.stop().await;
    });
}

#[test]
fn the_admin_pages_may_move_to_an_address_around_the_one_they_have() {
    netns::run(async || {
        let backend = HttpBackend::saying("ok").await;
        let odin = Odin::builder().with_config(config("127.0.0.1:8000", "127.0.0.1:9901", &backend)).start().await;
        for (admin, dialled) in [("0.0.0.0:9901", "127.0.0.2:9901"), ("127.0.0.1:9901", "127.0.0.1:9901")] {
            fs::write(odin.config_file(), config("127.0.0.1:8000", admin, &backend)).unwrap();
            odin.upgrade().await;
            Connection::http1(dialled.parse().unwrap()).await.get("/readyz").await.has_status(200);
        }
        odin.terminate();
    });
}
