#!/bin/sh
# Finds or makes a python that can `import grpc`, for tests/tests/grpc.rs: a proxy that says it carries gRPC has to carry
# grpcio's own client and server, not a likeness of them. Writes the path of that python to tests/grpc/.python and
# prints it.
#
# It takes the first that works: python3 as it is; a venv in tests/grpc/.venv with grpcio from PyPI; Debian's
# python3-grpcio. It never asks, says what it installs, and is done at once when all is there.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
venv="$here/.venv"
# Only as wheels: to compile the C core takes longer than all of the tests.
packages="grpcio==1.76.0 typing-extensions==4.15.0"

say() { printf 'grpc: %s\n' "$*" >&2; }

works() { "$1" -c 'import grpc; grpc.method_handlers_generic_handler' >/dev/null 2>&1; }

# The shell's answer may be a shim that chooses by folder; what is written down is the python behind it.
use() {
  python=$("$1" -c 'import sys; print(sys.executable)')
  printf '%s\n' "$python" >"$here/.python.$$"
  mv "$here/.python.$$" "$here/.python"
  printf '%s\n' "$python"
  exit 0
}

venv_is_made() {
  command -v python3 >/dev/null 2>&1 && python3 -c 'import venv, ensurepip' 2>/dev/null || return 1
  say "pip install $packages, into tests/grpc/.venv"
  # shellcheck disable=SC2086 # a list of words
  { python3 -m venv --clear "$venv" &&
    "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --only-binary :all: $packages
  } </dev/null >&2 || { say "that did not work"; return 1; }
}

debian_installs() {
  command -v apt-get >/dev/null 2>&1 || return 1
  say "apt-get install python3-grpcio"
  if [ "$(id -u)" = 0 ]; then root=; else root="sudo -n"; fi
  $root apt-get -qq update </dev/null >&2 || say "apt-get update failed; trying with the lists at hand"
  $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install python3-grpcio </dev/null >&2
}

for python in python3 "$venv/bin/python" /usr/bin/python3; do
  if works "$python"; then use "$python"; fi
done
if venv_is_made && works "$venv/bin/python"; then use "$venv/bin/python"; fi
if debian_installs && works /usr/bin/python3; then use /usr/bin/python3; fi
say "no python with grpcio: install one of PyPI's grpcio and Debian's python3-grpcio, then try again"
exit 1
