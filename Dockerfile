# The server in an image without a shell, as a user who is not root. Build: docker build -t rtaa-ingest .

# The version of rust-toolchain.toml, which stays out of here: it would download clippy and rustfmt.
FROM rust:1.95.0-bookworm AS build
WORKDIR /build

# The dependencies alone, with nothing of ours: this layer lasts until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir -p src tests/it \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/it/main.rs \
    && cargo build --release --locked

# Cargo compares times of change: without the touch, sources older than the layer above would not be built.
COPY src src
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin rtaa-ingest

# An image without a shell cannot make the journal's directory.
RUN mkdir -p /data/journal

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/rtaa-ingest /usr/local/bin/rtaa-ingest
COPY --from=build --chown=65532:65532 /data /data

# Frames go here while Redis is away, and where none is set. Mount a volume at /data that user 65532 may write to:
# without one, what the journal holds is lost with the container.
ENV JOURNAL_DIR=/data/journal
WORKDIR /data
USER 65532:65532
EXPOSE 8443

# The binary asks itself: there is no curl. Over TLS it only checks that the port is open.
HEALTHCHECK --interval=15s --timeout=10s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/rtaa-ingest", "health"]

# Exec form, so that SIGTERM arrives and starts the drain. `docker stop` kills after 10 s: give it more than
# DRAIN_TIMEOUT_S, as in `docker stop --time 40`.
ENTRYPOINT ["/usr/local/bin/rtaa-ingest"]
