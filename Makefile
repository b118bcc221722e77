# The habits: test, demo. On a bare Debian with a Rust toolchain, `make test` installs what it lacks.

.DEFAULT_GOAL := test
.PHONY: test test-all demo tools

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := env DEBIAN_FRONTEND=noninteractive apt-get
CARGO_DENY_VERSION := 0.20.2

# All that CI runs. The tests come last, so that what they say closes the output.
test: tools
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	cargo deny --offline check --hide-inclusion-graph bans licenses sources
	cargo test --locked

# Also what takes longer. Nothing does yet.
test-all: test

# The whole system at work, with nothing to set up.
demo:
	cargo run --locked -- demo

# cargo deny reads the manifests of crates for other platforms too, which a build does not fetch.
tools:
	@command -v cc >/dev/null || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y gcc libc6-dev; }
	@command -v redis-server >/dev/null || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y redis-server; }
	@cargo fmt --version >/dev/null && cargo clippy --version >/dev/null || rustup component add clippy rustfmt
	@cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked --version $(CARGO_DENY_VERSION)
	@cargo fetch --locked
