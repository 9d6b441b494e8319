//! nginx: one worker process under its master.
//!
//! Its limits on requests per connection are lifted: it would otherwise close every thousandth time, on both sides.

use std::path::Path;

use anyhow::{Context, Result};

use super::{IDLE_UPSTREAM, MAX_CONNECTIONS, Setup};
use crate::case::{Shape, Variant};

const MODULES: [&str; 4] =
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/nginx/modules", "/etc/nginx/modules"];

pub(super) fn arguments(setup: &Setup, config: String) -> Vec<String> {
    let dir = setup.dir.display();
    ["-p", &format!("{dir}/"), "-e", "stderr", "-c", &config].map(str::to_owned).to_vec()
}

pub(super) fn config(setup: &Setup) -> Result<String> {
    let dir = setup.dir.display();
    let load = match (setup.shape, setup.variant) {
        (shape, _) if shape.is_tcp() => load(&["ngx_stream_module.so"], "libnginx-mod-stream")?,
        (_, Variant::Plugin) => load(&["ndk_http_module.so", "ngx_http_lua_module.so"], "libnginx-mod-http-lua")?,
        _ => String::new(),
    };
    let body = if setup.shape.is_tcp() { stream(setup) } else { http(setup) };
    // Each address that it listens on takes the place of a connection.
    let connections = MAX_CONNECTIONS + setup.more.len();
    Ok(format!(
        "{load}user root;
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
{body}"
    ))
}

/// `load_module` lines; an error names the package to install.
fn load(files: &[&str], package: &str) -> Result<String> {
    files
        .iter()
        .map(|file| {
            let found = MODULES.iter().map(|folder| Path::new(folder).join(file)).find(|path| path.is_file());
            let path = found.with_context(|| format!("no {file}: `apt-get install {package}`"))?;
            Ok(format!("load_module {};\n", path.display()))
        })
        .collect()
}

fn stream(setup: &Setup) -> String {
    let Setup { listen, upstream, .. } = setup;
    format!(
        "stream {{
  access_log off;
  upstream origin {{ server 127.0.0.1:{upstream}; }}
  server {{ listen 127.0.0.1:{listen}; tcp_nodelay on; proxy_half_close on; proxy_pass origin; }}
}}
"
    )
}

fn http(setup: &Setup) -> String {
    let Setup { upstream, uncapped_pool, .. } = setup;
    let idle = if *uncapped_pool { MAX_CONNECTIONS } else { IDLE_UPSTREAM };
    let dir = setup.dir.display();
    let options = match setup.shape {
        Shape::Http2 => " http2",
        Shape::Https => " ssl",
        _ => "",
    };
    let tls = match setup.shape {
        Shape::Https => format!(
            "  ssl_certificate {dir}/bench.pem;\n  ssl_certificate_key {dir}/bench.key;\n  ssl_protocols TLSv1.2 TLSv1.3;\n"
        ),
        _ => String::new(),
    };
    let extra = match setup.variant {
        Variant::Plugin => {
            r#"
      rewrite_by_lua_block { ngx.req.set_header("x-odin", ngx.var.http_user_agent and "seen" or "none") }
      header_filter_by_lua_block { ngx.header["x-odin-response"] = "yes" }"#
        }
        Variant::Forwarded => {
            r#"
      proxy_set_header Via "1.1 nginx";
      proxy_set_header Forwarded "for=$remote_addr;host=$host;proto=$scheme";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Request-Id $request_id;
      add_header Via "1.1 nginx";"#
        }
        // It takes part in no other.
        _ => "",
    };
    let listens: String =
        setup.addresses().map(|address| format!("    listen {address}{options} backlog=4096;\n")).collect();
    format!(
        r#"http {{
  access_log off;
  keepalive_requests 1000000000;
{tls}  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  upstream origin {{
    server 127.0.0.1:{upstream};
    keepalive {idle};
    keepalive_requests 1000000000;
  }}
  server {{
{listens}    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;{extra}
    }}
  }}
}}
"#
    )
}
