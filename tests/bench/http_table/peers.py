"""The proxies that docs/http.md compares: plain reverse proxies, HTTP/1.1 on both sides, as default as they can be.
nginx and HAProxy take HTTP/2 without TLS at a port of its own.

Four backends stand behind each proxy, so that its choice of route shows: `/a` goes to "path", the host `a.example` to
"host", `/ws` to "websocket" (with what the proxy's manual says that WebSocket needs), and the rest to "rest".
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROUTES = ("path", "host", "websocket", "rest")


def nginx(to, listen, http2, folder):
    """proxy_http_version and Connection are what its manual says for kept connections; all else is default."""
    upstreams = "".join(f"  upstream {name} {{ server 127.0.0.1:{to[name]}; keepalive 8; }}\n" for name in ROUTES)
    plain = 'proxy_http_version 1.1; proxy_set_header Connection "";'
    upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade;"
    temp = "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in
                   ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""user root;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
  access_log off;
{temp}  map $http_upgrade $upgrade {{ default upgrade; '' close; }}
{upstreams}  server {{
    listen 127.0.0.1:{listen} default_server;
    listen 127.0.0.1:{http2} http2;
    location = /a {{ proxy_pass http://path; {plain} }}
    location /a/ {{ proxy_pass http://path; {plain} }}
    location /ws {{ proxy_pass http://websocket; {upgrade} }}
    location / {{ proxy_pass http://rest; {plain} }}
  }}
  server {{
    listen 127.0.0.1:{listen};
    server_name a.example;
    location / {{ proxy_pass http://host; {plain} }}
  }}
}}
""")
    return [program("nginx"), "-p", f"{folder}/", "-e", "stderr", "-c", str(folder / "nginx.conf")]


def haproxy(to, listen, http2, folder):
    backends = "".join(f"backend {name}\n  server one 127.0.0.1:{to[name]}\n" for name in ROUTES)
    (folder / "haproxy.cfg").write_text(f"""global
  maxconn 1000
defaults
  mode http
  timeout connect 3s
  timeout client 60s
  timeout server 60s
frontend all
  bind 127.0.0.1:{listen}
  bind 127.0.0.1:{http2} proto h2
  use_backend host if {{ hdr(host) -i a.example }}
  use_backend path if {{ path /a }} or {{ path_beg /a/ }}
  use_backend websocket if {{ path_beg /ws }}
  default_backend rest
{backends}""")
    return [program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def envoy(to, listen, _, folder):
    clusters = "".join(f"""  - name: {name}
    type: STATIC
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {to[name]} }} }} }}
""" for name in ROUTES)
    (folder / "envoy.yaml").write_text(f"""static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listen} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: all
          route_config:
            virtual_hosts:
            - name: host
              domains: ["a.example"]
              routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: host }} }}]
            - name: rest
              domains: ["*"]
              routes:
              - {{ match: {{ path_separated_prefix: "/a" }}, route: {{ cluster: path }} }}
              - match: {{ prefix: "/ws" }}
                route: {{ cluster: websocket, upgrade_configs: [{{ upgrade_type: websocket }}] }}
              - {{ match: {{ prefix: "/" }}, route: {{ cluster: rest }} }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
{clusters}""")
    return [envoy_program(), "--concurrency", "1", "--disable-hot-restart", "-l", "error",
            "-c", str(folder / "envoy.yaml")]


def odin(to, listen, _, folder):
    clusters = "".join(f'[clusters.{name}]\nendpoints = ["127.0.0.1:{to[name]}"]\n' for name in ROUTES)
    (folder / "odin.toml").write_text(f"""workers = 1
admin = "off"
admin-socket = "off"
steering = "bind"
[[listeners]]
address = "127.0.0.1:{listen}"
protocol = "http"
cluster = "rest"
[[listeners.routes]]
path = "/a"
cluster = "path"
[[listeners.routes]]
path = "/ws"
cluster = "websocket"
[[listeners.routes]]
host = "a.example"
cluster = "host"
{clusters}""")
    return [odin_program(), "-f", str(folder / "odin.toml")]


CONFIGS = {"Odin": odin, "nginx": nginx, "HAProxy": haproxy, "Envoy": envoy}


def program(name):
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not found:
        raise FileNotFoundError(f"{name} is not installed: tests/bench/setup.sh")
    return found


def odin_program():
    named = os.environ.get("ODIN_BIN")
    for path in [Path(named)] if named else [ROOT / "target/release/odin", ROOT / "target/debug/odin"]:
        if path.is_file():
            return str(path)
    raise FileNotFoundError("odin is not built: cargo build -p odin, or ODIN_BIN")


def envoy_program():
    if os.environ.get("ENVOY_BIN"):
        return os.environ["ENVOY_BIN"]
    locate = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))"
    for python in [ROOT / "target/bench/venv/bin/python3", shutil.which("python3")]:
        found = subprocess.run([str(python), "-c", locate], capture_output=True, text=True) if python and \
            Path(python).exists() else None
        if found and found.returncode == 0:
            return found.stdout.strip()
    raise FileNotFoundError("Envoy is not installed: tests/bench/setup.sh")


def version(name):
    flag = "--version" if name in ("Odin", "Envoy") else "-v"
    command = {"Odin": odin_program, "Envoy": envoy_program}.get(name, lambda: program(name.lower()))()
    said = subprocess.run([command, flag], capture_output=True, text=True)
    line = next(line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip())
    return line


def free_ports():
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class Proxy:
    """A running proxy; `with` ends it."""

    def __init__(self, name, to, folder):
        self.name = name
        self.port, own = free_ports()
        self.http2 = own if name in ("nginx", "HAProxy") else self.port
        folder.mkdir()
        self.log = folder / "log"
        with open(self.log, "w") as log:
            command = CONFIGS[name](to, self.port, own, folder)
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        until = time.monotonic() + 15
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except ConnectionRefusedError:
                time.sleep(0.02)
        self.__exit__()
        raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
