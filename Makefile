# The habits: test, chaos, bench, demo. On a bare Debian with a Rust toolchain, `make test` installs what it lacks.

.DEFAULT_GOAL := test
.PHONY: test test-all micro bench chaos proofs demo tools

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := env DEBIAN_FRONTEND=noninteractive apt-get
CARGO_DENY_VERSION := 0.20.2
# The library and the program that runs its benchmarks go together.
GUNGRAUN_VERSION := 0.20.0

# All that CI runs. The tests come last, so that what they say closes the output.
test: tools
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	cargo deny --offline check --hide-inclusion-graph bans licenses sources
	cargo bench --locked --bench frame_path
	cargo test --locked

# What a frame costs, in instructions and allocations, and whether that is more than it may: benches/frame_path/main.rs.
micro: tools
	cargo bench --locked --bench frame_path

# Also what takes longer: the program as it is shipped, and two thousand calls at once through it.
test-all: test
	cargo build --locked --release
	cargo test --locked --release --test it -- two_thousand

# Calls while everything breaks, by seed: SEEDS=1000 plays as many, from FIRST on; SEED=7 plays one again. FAULTS=cut,oom
# draws from these only, FAULTS=-kill from all others (their names: tests/chaos/fault.rs).
chaos: tools
	CHAOS_SEED=$(SEED) CHAOS_SEEDS=$(SEEDS) CHAOS_FIRST=$(FIRST) CHAOS_FAULTS=$(FAULTS) CHAOS_PARALLEL=$(PARALLEL) \
		cargo test --locked --test chaos -- --exact seeds

# The long form of what `make test` proves in short: kills, cuts, and outages with many calls. It takes about an hour,
# and 8 GB of memory for what Redis has to hold.
proofs: tools
	CHAOS_KILLS=$(or $(KILLS),50) CHAOS_CUTS=$(or $(CUTS),500) \
		CHAOS_OUTAGE_S=$(or $(OUTAGE_S),600) CHAOS_OUTAGE_CALLS=$(or $(OUTAGE_CALLS),200) \
		cargo test --locked --release --test chaos -- --test-threads 1 proofs

# What a frame costs end to end, as released, in about ten minutes; docs/performance.md says how. BENCH_QUICK=1 takes two,
# BENCH_ONLY=paced,flood measures only these, BENCH_WRITE=1 puts the tables and the drawing into docs/.
bench: tools
	cargo bench --locked --profile release --bench end_to_end

# The whole system at work, with nothing to set up.
demo:
	cargo run --locked -- demo

# cargo deny reads the manifests of crates for other platforms too, which a build does not fetch. The Python and Node
# libraries run the examples in docs/, Chromium the operators' page. Of Debian's Prometheus only promtool is taken, which
# reads metrics, rules and dashboard: the package would start a server.
tools:
	@lacking=; \
	lack() { lacking="$$lacking $$*"; }; \
	command -v cc >/dev/null || lack gcc libc6-dev; \
	command -v redis-server >/dev/null || lack redis-server; \
	command -v curl >/dev/null || lack curl; \
	command -v valgrind >/dev/null || lack valgrind; \
	/usr/bin/python3 -c 'import redis, websockets' 2>/dev/null || lack python3 python3-redis python3-websockets; \
	command -v node >/dev/null || lack nodejs; \
	command -v chromedriver >/dev/null || lack chromium chromium-driver; \
	NODE_PATH=/usr/share/nodejs node -e 'require("redis")' 2>/dev/null || lack node-redis; \
	[ -z "$$lacking" ] || { $(SUDO) $(APT) update && $(SUDO) $(APT) install -y $$lacking; }
	@command -v promtool >/dev/null || { dir=$$(mktemp -d) && cd "$$dir" && $(SUDO) $(APT) update && $(APT) download prometheus \
		&& dpkg-deb --fsys-tarfile prometheus_*.deb | $(SUDO) tar -x --strip-components=3 -C /usr/local/bin ./usr/bin/promtool \
		&& rm -r "$$dir"; }
	@cargo fmt --version >/dev/null && cargo clippy --version >/dev/null || rustup component add clippy rustfmt
	@cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked --version $(CARGO_DENY_VERSION)
	@cargo install --list | grep -qF 'gungraun-runner v$(GUNGRAUN_VERSION):' \
		|| cargo install gungraun-runner --locked --debug --version $(GUNGRAUN_VERSION)
	@cargo fetch --locked
