//! HAProxy: one thread, connections to the backend shared by all clients, splice where it gains.
//!
//! The Lua of the `plugin` case is the pair of actions that its manual recommends, not a filter.

use std::fs;

use anyhow::Result;

use super::{IDLE_UPSTREAM, MAX_CONNECTIONS, Setup};
use crate::case::{Shape, Variant};

const LUA: &str = r#"core.register_action("odin_request", { "http-req" }, function(txn)
  local agent = txn.sf:req_hdr("user-agent")
  txn.http:req_set_header("x-odin", agent ~= "" and "seen" or "none")
end)
core.register_action("odin_response", { "http-res" }, function(txn)
  txn.http:res_set_header("x-odin-response", "yes")
end)
"#;

/// Without `-W` there is one process, which cannot be told to reload.
pub(super) fn arguments(setup: &Setup, config: String) -> Vec<String> {
    let mode = if setup.shape == Shape::Ports { "-W" } else { "-db" };
    vec![mode.to_owned(), "-f".to_owned(), config]
}

pub(super) fn config(setup: &Setup) -> Result<String> {
    let Setup { upstream, uncapped_pool, .. } = setup;
    // Its default is no cap. But it closes idle connections above a quarter of the descriptors that `maxconn` needs
    // (`tune.pool-high-fd-ratio`), so that one is left to its default too, which goes by the limit of open files.
    let (maxconn, pool) = match uncapped_pool {
        true => (String::new(), String::new()),
        false => (format!("  maxconn {MAX_CONNECTIONS}\n"), format!(" pool-max-conn {IDLE_UPSTREAM}")),
    };
    let (global, rules) = match setup.variant {
        Variant::Plugin => {
            let script = setup.dir.join("haproxy.lua");
            fs::write(&script, LUA)?;
            (
                format!("  lua-load {}\n", script.display()),
                "  http-request lua.odin_request\n  http-response lua.odin_response\n",
            )
        }
        Variant::Forwarded => (
            String::new(),
            r#"  unique-id-format %[rand(4294967295),hex]%[rand(4294967295),hex]
  unique-id-header x-request-id
  http-request set-header x-forwarded-for %[src]
  http-request set-header x-forwarded-proto http
  http-request set-header x-forwarded-host %[req.hdr(host)]
  http-request set-header forwarded for=%[src];host=%[req.hdr(host)];proto=http
  http-request add-header via "1.1 haproxy"
  http-response add-header via "1.1 haproxy"
"#,
        ),
        // It takes part in no other.
        _ => (String::new(), ""),
    };
    let tls = format!(" ssl crt {}/bench.both alpn http/1.1", setup.dir.display());
    let (mode, listener, options) = match setup.shape {
        // Its best in each: told to decide, it copies the first part of a bulk transfer; told to splice, it splices 64 bytes too.
        Shape::TcpBulk | Shape::TlsBulk => ("tcp", "", "  option splice-request\n  option splice-response\n"),
        Shape::TcpSmall => ("tcp", "", "  option splice-auto\n"),
        Shape::Http1 | Shape::Ports | Shape::Download => ("http", "", "  http-reuse always\n"),
        Shape::Https => ("http", &*tls, "  http-reuse always\n"),
        Shape::Http2 => ("http", " proto h2", "  http-reuse always\n"),
    };
    let binds: String = setup.addresses().map(|address| format!("  bind {address} backlog 4096{listener}\n")).collect();
    Ok(format!(
        "global
  nbthread 1
{maxconn}{global}defaults
  mode {mode}
  timeout connect 3s
  timeout client 60s
  timeout server 60s
{options}frontend bench
{binds}{rules}  default_backend origin
backend origin
  server origin 127.0.0.1:{upstream}{pool}
"
    ))
}
