#!/bin/sh
# Builds the plugins for WebAssembly, into plugins/target/wasm32-unknown-unknown/release/*.wasm.
#
#   build.sh            the plugins of this folder
#   build.sh guests     these and the test guests of tests/guests
#   build.sh NAME...    only the named packages
#
# It takes the first way that works and says which: the rustc at hand when it knows the target; Debian's rustc, which
# builds std itself, when its packages are there; `rustup target add`; installing Debian's packages. It never asks.
# Set ODIN_WASM_TOOLCHAIN to `rustc`, `rustup` or `debian` to force one way.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
target=wasm32-unknown-unknown
packages="rustc-web cargo-web rust-web-src lld-22"
way=${ODIN_WASM_TOOLCHAIN:-}

say() { printf 'plugins: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

case "${1:-}" in
  '') set -- ;;
  guests) set -- --workspace ;;
  -*) fail "usage: build.sh [guests | NAME...]" ;;
  # With the version: a package of the same name may be among the dependencies.
  *) version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/Cargo.toml")
     for name in "$@"; do set -- "$@" --package "$name@$version"; shift; done ;;
esac

rustc_knows_target() {
  libdir=$(rustc --print target-libdir --target "$target" 2>/dev/null) && ls "$libdir"/libstd-*.rlib >/dev/null 2>&1
}

rustup_adds_target() {
  command -v rustup >/dev/null 2>&1 || return 1
  say "asking rustup for the target $target (at most a minute)"
  if command -v timeout >/dev/null 2>&1; then limit="timeout 60"; else limit=; fi
  $limit rustup target add "$target" </dev/null >/dev/null 2>&1 && rustc_knows_target
}

debian_lacks() {
  for package in $packages; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf ' %s' "$package"
  done
}

debian_has_toolchain() {
  command -v dpkg-query >/dev/null 2>&1 && [ -z "$(debian_lacks)" ]
}

debian_installs_toolchain() {
  command -v apt-get >/dev/null 2>&1 || return 1
  missing=$(debian_lacks)
  [ -z "$missing" ] && return 0
  say "installing Debian packages:$missing"
  if [ "$(id -u)" = 0 ]; then root=; else root="sudo -n"; fi
  $root apt-get -qq update </dev/null >&2 || say "apt-get update failed; trying with the lists at hand"
  # shellcheck disable=SC2086 # a list of words
  $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing </dev/null >&2
}

if [ -z "$way" ]; then
  if rustc_knows_target; then way=rustc
  elif debian_has_toolchain; then way=debian
  elif rustup_adds_target; then way=rustup
  elif debian_installs_toolchain; then way=debian
  else fail "no way to compile for $target: install it with 'rustup target add $target', or on Debian: $packages"
  fi
else
  case "$way" in
    rustc) rustc_knows_target || fail "this rustc has no target $target" ;;
    rustup) rustup_adds_target || fail "rustup cannot add the target $target" ;;
    debian) debian_installs_toolchain || fail "cannot install: $packages" ;;
    *) fail "ODIN_WASM_TOOLCHAIN is '$way', not rustc, rustup or debian" ;;
  esac
fi

# Flags meant for the host's code do not fit WebAssembly.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
cd "$here"
if [ "$way" = debian ]; then
  say "building with Debian's $(/usr/bin/rustc --version | cut -d' ' -f1,2) and a std of its own"
  # The linker by its name: the `rust-lld` that rustc looks for comes with a package that pulls in all of LLVM.
  PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=/usr/lib/llvm-22/bin/wasm-ld /usr/bin/cargo build --locked --release \
    --target "$target" --target-dir target -Zbuild-std=std,panic_abort "$@"
else
  say "building with $(rustc --version | cut -d' ' -f1,2), target $target"
  cargo build --locked --release --target "$target" --target-dir target "$@"
fi
