//! `GET /metrics` (6.4): every metric by name, and the cells that its samples are read from.
//!
//! No other file names a metric but the documents, which `tests/it/metrics/` holds to what stands here. Invariant: no
//! label has a value that a peer chose; consumer groups are named by whoever runs Redis.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{Gate, handshakes::Count, ops_access::Operator};
use crate::{
    clock,
    metrics::{
        process,
        text::{CONTENT_TYPE, Page},
    },
    publisher::Publisher,
};

pub(super) async fn metrics(_: Operator, State(gate): State<Arc<Gate>>) -> Response {
    // It reads files, one of them with a line for each connection.
    let text = tokio::task::spawn_blocking(move || page(&gate)).await;
    match text {
        Ok(text) => {
            let headers = [
                (header::CONTENT_TYPE, CONTENT_TYPE),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, text).into_response()
        }
        // The runtime is being shut down.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn page(gate: &Gate) -> String {
    let mut page = Page::default();
    connections(gate, &mut page);
    audio(gate, &mut page);
    let publisher = gate.connections.calls.publisher();
    publishing(publisher, &mut page);
    consumers(publisher, &mut page);
    page.counter(
        "ingest_outbound_frames_total",
        "Audio messages sent back to callers.",
    )
    .value(0);
    page.counter(
        "ingest_outbound_dropped_total",
        "Audio messages for callers that were dropped.",
    )
    .value(0);
    process::write(&mut page, gate.health.started_ms());
    page.into_text()
}

fn connections(gate: &Gate, page: &mut Page) {
    let counts = &gate.connections.counts;
    page.gauge("ingest_build_info", "1, with the version that runs.")
        .each("version", [(env!("CARGO_PKG_VERSION"), 1)]);
    let draining = gate.connections.shutdown.draining.is_cancelled();
    page.gauge(
        "ingest_draining",
        "1 while live calls may end and no new ones are taken.",
    )
    .value(u8::from(draining));
    page.gauge(
        "ingest_calls_active",
        "Sessions of calls that are live here.",
    )
    .value(gate.connections.calls.len());
    page.gauge("ingest_connections_active", "WebSockets that are open.")
        .each("protocol", counts.open());
    let mut handshakes = page.counter(
        "ingest_handshakes_total",
        "WebSocket upgrades that were asked for, by what became of them.",
    );
    for Count {
        protocol,
        outcome,
        reason,
        times,
    } in gate.handshakes.counts()
    {
        let labels = [
            ("protocol", protocol),
            ("outcome", outcome),
            ("reason", reason),
        ];
        handshakes.add(&labels, times);
    }
    page.counter(
        "ingest_connection_closes_total",
        "WebSockets that have ended, by what was first to end them.",
    )
    .each("reason", counts.closes.iter());
}

fn audio(gate: &Gate, page: &mut Page) {
    let counts = &gate.connections.counts;
    let sessions = gate.connections.calls.counts();
    page.counter(
        "ingest_frames_received_total",
        "Pieces of audio that were read off sockets.",
    )
    .each("dialect", counts.frames());
    page.counter(
        "ingest_audio_bytes_received_total",
        "Bytes of these, as 16-bit samples.",
    )
    .value(counts.bytes());
    page.counter(
        "ingest_frames_duplicate_total",
        "Frames that a client had sent before; they are not published again.",
    )
    .value(counts.duplicates());
    page.counter(
        "ingest_gaps_total",
        "Places in sessions where audio is missing.",
    )
    .each("reason", sessions.gaps.iter());
    page.counter(
        "ingest_bad_messages_total",
        "Messages that could not be used and were skipped, or ended a custom client's connection.",
    )
    .each("reason", counts.bad_messages.iter());
    let too_large = gate.connections.calls.publisher().totals().too_large;
    let dropped = sessions.dropped.iter().chain([("too_large", too_large)]);
    page.counter(
        "ingest_frames_dropped_total",
        "Frames that were received and are nowhere.",
    )
    .each("reason", dropped);
}

fn publishing(publisher: &Publisher, page: &mut Page) {
    let (health, totals) = (publisher.health(), publisher.totals());
    page.counter(
        "ingest_frames_published_total",
        "Frames that Redis has, directly or by way of the journal.",
    )
    .value(totals.published);
    page.counter(
        "ingest_frames_journaled_total",
        "Frames that were made safe in the journal.",
    )
    .value(totals.journaled);
    page.histogram(
        "ingest_publish_seconds",
        "From the read off the socket until Redis or the journal has confirmed the frame, to 0.125 ms.",
        &totals.waited,
        |ns| Duration::from_nanos(ns).as_secs_f64(),
    );
    page.histogram(
        "ingest_publish_batch_frames",
        "Frames that were confirmed together, by one transaction or one sync of the journal.",
        &totals.together,
        |frames| frames,
    );
    let up = page.gauge(
        "ingest_redis_up",
        "1 while Redis is connected and refuses nothing; no sample without a REDIS_URL.",
    );
    if publisher.uses_redis() {
        up.value(u8::from(health.up));
    }
    page.counter(
        "ingest_redis_reconnects_total",
        "Connections for frames that were made after the first.",
    )
    .value(totals.reconnects);
    page.counter(
        "ingest_redis_errors_total",
        "Failed attempts, lost connections and refusals, of connections for frames.",
    )
    .each("class", totals.errors);
    page.gauge("ingest_journal_bytes", "Size of the journal.")
        .value(health.journal_bytes);
    let age_ms = publisher
        .journal_oldest_ms()
        .map_or(0, |oldest| clock::epoch_ms().saturating_sub(oldest));
    page.gauge(
        "ingest_journal_oldest_seconds",
        "Age of the oldest segment of the journal, 0 if it is empty.",
    )
    .value(Duration::from_millis(age_ms).as_secs_f64());
}

fn consumers(publisher: &Publisher, page: &mut Page) {
    let groups = publisher.groups();
    let each = || groups.iter();
    page.gauge(
        "ingest_consumer_lag_entries",
        "Entries that a consumer group has not read, or not acknowledged.",
    )
    .each(
        "group",
        each().map(|group| (&*group.name, group.lag_entries)),
    );
    page.gauge("ingest_consumer_lag_seconds", "Age of the oldest of them.")
        .each(
            "group",
            each().map(|group| (&*group.name, group.lag_seconds)),
        );
    let margins = each().filter_map(|group| Some((&*group.name, group.margin_seconds?)));
    page.gauge(
        "ingest_trim_margin_seconds",
        "Until trimming removes what a consumer group still needs; no sample where it needs nothing.",
    )
    .each("group", margins);
}
