#!/bin/sh
# Builds the steering program for BPF and puts the object where the host embeds it: bpf/odin-steer.o.
#
#   build.sh         into bpf/odin-steer.o
#   build.sh FILE    into FILE, for a comparison
#
# The object is the same from build to build, so it is committed, and a plain `cargo build` needs nothing of this. What
# is missing is installed: Debian's rustc, which brings a `core` for BPF, and bpf-linker. It never asks.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
target=bpfel-unknown-none
packages="rustc-web cargo-web libstd-rust-web-dev-bpf"
# What bpf-linker is built with.
linker_packages="llvm-22-dev libpolly-22-dev zlib1g-dev libzstd-dev"
linker_version=0.13.0

say() { printf 'bpf: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Cargo installs there, and it need not be in the path.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

install_packages() {
  missing=
  for package in "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  [ -z "$missing" ] && return 0
  command -v apt-get >/dev/null 2>&1 || fail "no way to build for $target: on Debian, install$missing"
  say "installing Debian packages:$missing"
  if [ "$(id -u)" = 0 ]; then root=; else root="sudo -n"; fi
  $root apt-get -qq update </dev/null >&2 || say "apt-get update failed; trying with the lists at hand"
  # shellcheck disable=SC2086 # a list of words
  $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing </dev/null >&2
}

# shellcheck disable=SC2086 # lists of words
{
  command -v dpkg-query >/dev/null 2>&1 || fail "no way to build for $target: this needs Debian's rustc"
  install_packages $packages
  if ! command -v bpf-linker >/dev/null 2>&1; then
    install_packages $linker_packages
    say "installing bpf-linker $linker_version (once, some minutes)"
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install --quiet --locked bpf-linker --version "$linker_version" \
      --no-default-features --features llvm-22
  fi
}

# Flags meant for the host's code do not fit BPF.
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
cd "$here"
output=${1:-$here/odin-steer.o}
target_dir=${CARGO_TARGET_DIR:-$here/target}
say "building with Debian's $(/usr/bin/rustc --version | cut -d' ' -f1,2) and $(bpf-linker --version)"
RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="-C target-cpu=v3" CARGO_PROFILE_RELEASE_DEBUG=0 \
  /usr/bin/cargo build --locked --release --target "$target" --target-dir "$target_dir"
# By a rename: whoever reads it meanwhile sees one or the other.
cp "$target_dir/$target/release/odin-steer" "$output.new"
mv "$output.new" "$output"
say "$output: $(wc -c <"$output") bytes, sha256 $(sha256sum "$output" | cut -c1-16)…"
