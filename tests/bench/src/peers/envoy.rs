//! Envoy: one worker thread beside its main thread, with what its documentation says to turn off for a benchmark.
//!
//! The program itself is measured, not the Python script that the package puts on PATH.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{MAX_CONNECTIONS, Setup, ext_proc, on_path};
use crate::case::{Shape, Variant};
use crate::options::repository;

/// Where `setup.sh` puts the package when it is not there already.
const VENV_PYTHON: &str = "target/bench/venv/bin/python3";
const LOCATE: &str = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";

pub(super) fn find() -> Option<PathBuf> {
    let named = env::var_os("ENVOY_BIN").map(PathBuf::from);
    let venv = repository().join(VENV_PYTHON);
    named
        .or_else(|| on_path("envoy").filter(|file| is_program(file)))
        .or_else(|| ask_python(&venv))
        .or_else(|| ask_python(Path::new("python3")))
        .filter(|file| file.is_file())
}

fn is_program(file: &Path) -> bool {
    let mut start = [0; 4];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"\x7fELF"
}

fn ask_python(python: &Path) -> Option<PathBuf> {
    let output = Command::new(python).args(["-c", LOCATE]).output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim())).filter(|file| is_program(file))
}

pub(super) fn arguments(config: String) -> Vec<String> {
    ["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", &config].map(str::to_owned).to_vec()
}

pub(super) fn config(setup: &Setup) -> String {
    let Setup { listen, upstream, .. } = setup;
    let filter = if setup.shape.is_tcp() { TCP.to_owned() } else { http(setup) };
    let tls = if setup.shape == Shape::Https { tls(setup) } else { String::new() };
    let processor = if setup.variant == Variant::Digest { ext_proc::cluster(setup) } else { String::new() };
    format!(
        "static_resources:
  listeners:
  - name: bench
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listen} }} }}
    filter_chains:
    - filters:
{filter}{tls}  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 3s
    circuit_breakers:
      thresholds:
      - {{ max_connections: {MAX_CONNECTIONS}, max_pending_requests: {MAX_CONNECTIONS}, max_requests: {MAX_CONNECTIONS} }}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream} }} }} }}
{processor}"
    )
}

fn tls(setup: &Setup) -> String {
    let dir = setup.dir.display();
    format!(
        "      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [http/1.1]
            tls_certificates:
            - certificate_chain: {{ filename: {dir}/bench.pem }}
              private_key: {{ filename: {dir}/bench.key }}
"
    )
}

const TCP: &str = "      - name: envoy.filters.network.tcp_proxy
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: origin
";

const LUA: &str = r#"          - name: envoy.filters.http.lua
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code:
                inline_string: |
                  function envoy_on_request(handle)
                    local headers = handle:headers()
                    headers:replace("x-odin", headers:get("user-agent") and "seen" or "none")
                  end
                  function envoy_on_response(handle)
                    handle:headers():replace("x-odin-response", "yes")
                  end
"#;

const FORWARDED: &str = r#"              request_headers_to_add:
              - { header: { key: forwarded, value: "for=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%;host=%REQ(:AUTHORITY)%;proto=http" } }
              - { header: { key: x-forwarded-host, value: "%REQ(:AUTHORITY)%" } }
"#;

fn http(setup: &Setup) -> String {
    let codec = if setup.shape == Shape::Http2 { "HTTP2" } else { "HTTP1" };
    let forwarded = setup.variant == Variant::Forwarded;
    let filter = match setup.variant {
        Variant::Plugin => LUA,
        Variant::Digest => ext_proc::FILTER,
        _ => "",
    };
    let (via, add) = if forwarded { ("          via: 1.1 envoy\n", FORWARDED) } else { ("", "") };
    format!(
        "      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: {codec}
          generate_request_id: {forwarded}
          use_remote_address: {forwarded}
{via}          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
{add}              routes:
              - match: {{ prefix: / }}
                route: {{ cluster: origin }}
          http_filters:
{filter}          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              dynamic_stats: false
              suppress_envoy_headers: true
"
    )
}
