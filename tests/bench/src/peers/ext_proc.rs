//! Envoy's external processing: one filter that asks a compiled gRPC processor (`tests/bench/ext_proc`).
//!
//! Both are set up as well as they can be for what the processor does, and must do no less: Envoy sends the three fields that
//! are digested and no others, over a Unix socket.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{Helper, MAX_CONNECTIONS, Setup};
use crate::options::repository;

/// Where `make bench` puts it.
const BUILT: &str = "target/bench/ext_proc/release/odin-bench-ext-proc";

pub(super) fn helper(setup: &Setup) -> Result<Helper> {
    let binary = env::var_os("EXT_PROC_BIN").map_or_else(|| repository().join(BUILT), PathBuf::from);
    if !binary.is_file() {
        bail!("the gRPC processor {} is not there: `make bench-processor`", binary.display());
    }
    Ok(Helper { binary, socket: socket(setup) })
}

fn socket(setup: &Setup) -> PathBuf {
    setup.dir.join("ext_proc.sock")
}

pub(super) const FILTER: &str = r#"          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: { envoy_grpc: { cluster_name: processor } }
              message_timeout: 5s
              processing_mode:
                request_header_mode: SEND
                request_body_mode: BUFFERED
                request_trailer_mode: SKIP
                response_header_mode: SEND
                response_body_mode: NONE
                response_trailer_mode: SKIP
              forward_rules:
                allowed_headers: { patterns: [{ exact: ":method" }, { exact: ":path" }, { exact: x-tenant-id }] }
"#;

pub(super) fn cluster(setup: &Setup) -> String {
    let socket = socket(setup).display().to_string();
    format!(
        "  - name: processor
    type: STATIC
    connect_timeout: 3s
    circuit_breakers:
      thresholds:
      - {{ max_connections: {MAX_CONNECTIONS}, max_pending_requests: {MAX_CONNECTIONS}, max_requests: {MAX_CONNECTIONS} }}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: processor
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ pipe: {{ path: {socket:?} }} }} }}
"
    )
}
