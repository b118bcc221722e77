//! The log: how it is set up, and every event that it knows, by name.
//!
//! An event is a function here, so that its words and its level stand in one place; runbooks search for the words (8.2).
//! Levels: ERROR audio lost or a person must act, WARN unexpected but nothing lost, INFO a call or the service changes
//! state, DEBUG one call's details. Nothing secret is ever an argument of these functions.

use std::path::Path;

use tracing::{debug, error, info, warn};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::publisher::progress::Progress;

/// How the log looks and what it lets through.
#[derive(Debug, Clone)]
pub struct Settings {
    pub format: LogFormat,
    /// A `tracing` filter, `RUST_LOG`'s syntax.
    pub filter: String,
    /// Whether text may be coloured.
    pub colours: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Sends the log to standard error. Does nothing if a log has been set up before.
pub fn init(settings: &Settings) {
    // The ready line is told whatever the filter says (8.3).
    let filter = EnvFilter::new(&settings.filter);
    let filter = match format!("{READY}=info").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry();
    let result = match settings.format {
        LogFormat::Json => registry
            .with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_filter(filter),
            )
            .try_init(),
        LogFormat::Text => registry
            .with(layer.with_ansi(settings.colours).with_filter(filter))
            .try_init(),
    };
    if result.is_err() {
        debug!("the log was set up before");
    }
}

pub fn listening(addr: &str, url: &str, adapter: &str) {
    info!(target: READY, addr, url, adapter, "listening");
}

pub fn warning(text: &str) {
    warn!("{text}");
}

pub fn upgrade_attempt(client: &str, user_agent: &str, path: &str) {
    info!(
        client,
        user_agent, path, "WebSocket upgrade attempt detected"
    );
}

pub fn upgrade_request(client: &str, protocol: &str, path: &str) {
    info!(client, protocol, path, "WebSocket upgrade request received");
}

pub fn exotel_accepted(client: &str, path: &str) {
    info!(client, path, "Exotel WebSocket upgrade request accepted");
}

pub fn exotel_connected(connection: &str, client: &str) {
    info!(connection, client, "New Exotel WebSocket connection");
}

pub fn client_connected(connection: &str, client: &str) {
    info!(connection, client, "New client WebSocket connection");
}

pub fn authentication_failed(client: &str, path: &str, status: u16, reason: &str, message: &str) {
    warn!(
        client,
        path,
        status,
        reason,
        detail = message,
        "Authentication failed"
    );
}

/// The same words for a token that was to come after the upgrade.
pub fn late_token_denied(connection: &str, message: &str) {
    warn!(
        connection,
        reason = "bad_url_token",
        detail = message,
        "Authentication failed"
    );
}

pub fn upgrade_refused(client: &str, path: &str, status: u16, reason: &str, message: &str) {
    warn!(
        client,
        path,
        status,
        reason,
        detail = message,
        "WebSocket upgrade refused"
    );
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is a field of its own in the log"
)]
pub fn start_received(
    connection: &str,
    interaction_id: &str,
    tenant_id: &str,
    stream_sid: &str,
    sample_rate: u32,
    encoding: &str,
    session: u64,
    joined: bool,
) {
    info!(
        connection,
        interaction_id,
        tenant_id,
        stream_sid,
        sample_rate,
        encoding,
        session,
        joined,
        "Start event received"
    );
}

pub fn call_opened(
    connection: &str,
    interaction_id: &str,
    tenant_id: &str,
    session: u64,
    joined: bool,
) {
    info!(
        connection,
        interaction_id, tenant_id, session, joined, "Call opened without a start event"
    );
}

/// The first and every hundredth frame of a call.
pub(crate) fn frame_published(progress: &Progress, seq: u64, frames: u64, bytes: usize) {
    info!(
        interaction_id = progress.interaction_id,
        tenant_id = progress.tenant_id,
        seq,
        frames,
        bytes,
        "Published audio frame"
    );
}

pub(crate) fn audio_drops_began(progress: &Progress) {
    error!(
        interaction_id = progress.interaction_id,
        tenant_id = progress.tenant_id,
        "Redis is away and the journal is full; audio of this call is dropped until there is room"
    );
}

pub(crate) fn audio_drops_ended(progress: &Progress, ms: u64) {
    error!(
        interaction_id = progress.interaction_id,
        tenant_id = progress.tenant_id,
        ms,
        "Audio of this call was dropped; a gap event marks where"
    );
}

pub fn bad_message(connection: &str, error: &str, total: u64) {
    warn!(
        connection,
        error, total, "Message could not be used and was skipped"
    );
}

pub fn connection_warning(connection: &str, text: &str) {
    warn!(connection, detail = text, "Unexpected on this connection");
}

pub fn call_ended(
    interaction_id: &str,
    tenant_id: &str,
    session: u64,
    reason: &str,
    frames: u64,
    gaps: u64,
) {
    info!(
        interaction_id,
        tenant_id, session, reason, frames, gaps, "Call ended"
    );
}

/// How a connection ended, with all that support asks for.
#[derive(Debug)]
pub struct Closed<'a> {
    pub connection: &'a str,
    pub interaction_id: Option<&'a str>,
    pub code: u16,
    pub reason: &'a str,
    pub seconds: f64,
    pub messages: u64,
    pub bad_messages: u64,
    pub sender_gaps: u64,
}

pub fn connection_closed(closed: &Closed<'_>) {
    let Closed {
        connection,
        interaction_id,
        code,
        reason,
        seconds,
        messages,
        bad_messages,
        sender_gaps,
    } = *closed;
    info!(
        connection,
        interaction_id,
        code,
        reason,
        seconds,
        messages,
        bad_messages,
        sender_gaps,
        "Connection closed"
    );
}

pub(crate) fn redis_up(stream: &str) {
    info!(stream, "Redis is connected");
}

pub(crate) fn redis_down(stream: &str, problem: &str) {
    error!(
        stream,
        problem, "Redis is away; frames wait in memory, and go to the journal if it stays away"
    );
}

pub(crate) fn bridge_opened(stream: &str) {
    warn!(stream, "Frames go to the journal from now on");
}

/// `left` is of calls that have ended; it is published beside the live ones.
pub(crate) fn bridge_closed(stream: &str, left: u64) {
    info!(
        stream,
        left, "Live calls have caught up; frames go to Redis directly again"
    );
}

/// After a broken connection: how much of what was under way had arrived, and how much is sent again.
pub(crate) fn redis_read_back(stream: &str, arrived: usize, sent_again: usize) {
    info!(
        stream,
        arrived, sent_again, "Read back what the broken connection had delivered"
    );
}

pub(crate) fn group_made(stream: &str, group: &str) {
    info!(stream, group, "Consumer group was missing and is made");
}

/// `problem` says how far it is behind, when audio is lost to it, and what to do.
pub(crate) fn group_falls_behind(stream: &str, group: &str, problem: &str) {
    warn!(
        stream,
        group,
        detail = problem,
        "Consumer group falls behind"
    );
}

pub(crate) fn group_lost_audio(stream: &str, group: &str, problem: &str) {
    error!(
        stream,
        group,
        detail = problem,
        "Consumer group has lost audio"
    );
}

pub(crate) fn group_reads_nothing(stream: &str, group: &str, problem: &str) {
    warn!(
        stream,
        group,
        detail = problem,
        "Consumer group reads nothing"
    );
}

pub(crate) fn group_keeps_up(stream: &str, group: &str) {
    info!(stream, group, "Consumer group keeps up again");
}

pub(crate) fn redis_refused(error: &str, advice: &str) {
    error!(
        error,
        advice, "Redis refused a command; it is kept and sent again"
    );
}

pub(crate) fn journal_failed(problem: &str) {
    error!(
        problem,
        "The journal cannot be written; frames wait in memory and senders are slowed when it is full"
    );
}

/// The journal is the destination and has made room for newer frames.
pub(crate) fn journal_removed(records: u64, bytes: u64) {
    warn!(
        records,
        bytes, "The journal has reached JOURNAL_MAX_BYTES; its oldest records were removed"
    );
}

pub(crate) fn record_too_large(error: &str) {
    error!(error, "A record was lost");
}

pub(crate) fn journal_unpublished(detail: &str) {
    error!(detail, "What is in the journal is not published");
}

pub(crate) fn journal_notice(text: &str) {
    warn!(detail = text, "Journal");
}

pub fn reloaded() {
    info!("Settings, keys and certificates were read again");
}

pub fn reload_failed(errors: &str) {
    error!(
        errors,
        "Settings could not be read again; everything stays as it was"
    );
}

pub fn draining(calls: usize, seconds: u64) {
    info!(calls, seconds, "Draining: no new calls, live ones may end");
}

pub fn drained(seconds: f64) {
    info!(seconds, "Drained; all frames are durable");
}

/// They are safe, but nobody has them yet.
pub fn left_in_journal(frames: u64, dir: &Path) {
    let dir = dir.display();
    error!(
        %dir,
        frames,
        publish_with = format!("rtaa-ingest replay --journal {dir}"),
        "Frames are left in the journal; the next start publishes them, or do it now"
    );
}

pub fn lane_died(error: &str) {
    error!(
        error,
        "A part of the publisher has died; what it had in memory is lost"
    );
}

/// `destination` is where they could not go; nothing keeps them.
pub fn undelivered(records_lost: usize, destination: &str) {
    error!(records_lost, destination, "Not delivered before the end");
}

/// Target of the one line that no filter hides.
const READY: &str = "rtaa_ingest::ready";
