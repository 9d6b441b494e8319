# Odin's commands. `make run` and `make test` do all of their set-up, ask nothing, and say what they install.

SHELL := /bin/sh
WASM := plugins/target/wasm32-unknown-unknown/release

# Where tests that could not run here tell of it: tests/src/skipped.rs.
export ODIN_SKIPPED ?= $(CURDIR)/target/skipped

.PHONY: run test soak fuzz lint bench bench-quick bench-processor plugins guests bpf grpc build setup namespaces peers fetch clean

## Builds Odin and its plugins and serves the demo: HTTP on 127.0.0.1:8080, TCP on 127.0.0.1:7000.
run: build plugins
	exec target/debug/odin --plugin $(WASM)/lb_rr.wasm --grant random

## Everything that must hold: unit tests, the plugins' own tests, and the end-to-end tests against the built binary.
test: fetch guests grpc namespaces peers
	cd plugins && cargo test --workspace --all-features --locked
	cargo build --workspace --all-targets --locked
	@: >$(ODIN_SKIPPED)
	cargo test --workspace --locked --no-fail-fast; passed=$$?; tests/skipped.sh $(ODIN_SKIPPED); exit $$passed

## Swaps, reloads and clients of all kinds for ten minutes, a quarter of which abort: no error, and the memory stays.
soak: fetch guests
	cargo build --workspace --bin odin --locked
	ODIN_SOAK_SECONDS=$${ODIN_SOAK_SECONDS:-600} cargo test --workspace --locked --test soak -- --nocapture

## Each fuzz target for ten minutes, or for ODIN_FUZZ_SECONDS: see tests/fuzz. Those of one crate run side by side.
fuzz: setup fetch
	ODIN_FUZZ_SECONDS=$${ODIN_FUZZ_SECONDS:-600} cargo test --workspace --locked --no-fail-fast \
		--lib --bins --test fuzz fuzz -- --nocapture

## Format, lints, and what the dependencies may be.
lint: setup fetch guests
	cargo fmt --all --check
	cd plugins && cargo fmt --all --check
	cd bpf && cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny (once, some minutes)"; cargo install --locked --quiet cargo-deny@0.20.2; }
	cargo deny --all-features --offline check bans licenses sources

## Odin beside nginx, HAProxy and Envoy; writes docs/benchmarks.md. Takes about twenty-five minutes.
bench: guests bench-processor
	tests/bench/setup.sh
	cargo build --release --locked -p odin -p odin-bench
	target/release/odin-bench
	cargo bench --locked -p odin-runtime --bench hook_call
	cargo bench --locked -p odin-proxy --bench pick

## One short round: whether it runs, not what it measures.
bench-quick: guests bench-processor
	tests/bench/setup.sh
	cargo build --release --locked -p odin -p odin-bench
	target/release/odin-bench --quick

# What Envoy's ext_proc filter asks in the benchmark: a workspace of its own, so that nothing else has to build a gRPC stack.
bench-processor: setup
	cargo build --release --locked --manifest-path tests/bench/ext_proc/Cargo.toml --target-dir target/bench/ext_proc

## The plugins as WebAssembly.
plugins: setup
	plugins/build.sh

## The plugins and the hostile ones that the tests need.
guests: setup
	plugins/build.sh guests

## The steering program, bpf/odin-steer.o. The object is committed, so only a change of bpf/ needs this.
bpf: setup
	bpf/build.sh

## A python with grpcio: the real gRPC client and server for tests/tests/grpc.rs.
grpc:
	@tests/grpc/setup.sh >/dev/null

build: setup fetch
	cargo build --locked -p odin

# Debian's packages, if a command is missing: $(call debian,command,packages,what for).
debian = command -v $(1) >/dev/null || { echo "installing $(2): $(3)"; tests/apt.sh $(2); }

# A linker for Rust: the one thing that a bare Debian with rustup lacks.
setup:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust's stable toolchain with rustup, then try again" >&2; exit 1; }
	@$(call debian,cc,gcc libc6-dev,Rust needs a linker)

# The tests of steering have network namespaces of their own, which only root can make; others skip them.
namespaces:
	@[ "$$(id -u)" != 0 ] || $(call debian,ip,iproute2,tests of steering run in network namespaces)

# Clients and peers of other makes.
peers:
	@$(call debian,openssl,openssl,tests of TLS ask for what a client can get)
	@$(call debian,curl,curl ca-certificates,tests run what the docs show)
	@$(call debian,pebble,pebble,tests ask its test authority for certificates)
	@$(call debian,node,nodejs,a client of TLS)
	@$(call debian,nginx,nginx-light,a client of TLS)
	@$(call debian,chromium,chromium,a client of TLS)
	@$(call debian,testssl,testssl.sh bsdextrautils dnsutils,a scanner of TLS)
	@tests/tls/setup.sh

# All downloads, before anything is built or tested.
fetch: setup
	@cargo fetch --locked --quiet
	@cd plugins && cargo fetch --locked --quiet

clean:
	cargo clean
	cd plugins && cargo clean
	cd bpf && cargo clean
