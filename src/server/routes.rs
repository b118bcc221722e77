//! Which path answers what, and how errors look over HTTP (6).

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde_json::json;

use super::{Gate, live, metrics, ops_access::Operator, upgrade};
use crate::{clock, health::Readiness};

pub(super) fn routes(gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/v1/ingest", any(upgrade::ingest))
        // A slash too many in the applet's URL should not cost the calls.
        .route("/v1/ingest/", any(upgrade::ingest))
        .route("/v1/ingest/{token}", any(upgrade::ingest_with_token))
        .route("/ws/voicebot/{session_id}", any(upgrade::voicebot))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/v1/calls", get(calls))
        .route("/v1/handshakes", get(handshakes))
        .route("/metrics", get(metrics::metrics))
        .route("/live", get(live::page))
        .route("/live/events", get(live::events))
        .method_not_allowed_fallback(async || {
            refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "use GET here",
            )
        })
        .fallback(upgrade::nowhere)
        .with_state(gate)
}

/// An answer that says what is wrong and what to do.
pub(super) fn refuse(status: StatusCode, error: &str, message: &str) -> Response {
    json_answer(status, &json!({"error": error, "message": message}))
}

/// Every answer can be asked about.
pub(super) fn with_request_id(answer: Result<Response, Infallible>) -> Response {
    let mut response = match answer {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn health(State(gate): State<Arc<Gate>>) -> Response {
    json_answer(
        StatusCode::OK,
        &gate.health.report(&gate.connections.calls, &gate.rules()),
    )
}

async fn ready(State(gate): State<Arc<Gate>>) -> Response {
    match gate.health.readiness(gate.connections.calls.publisher()) {
        Readiness::Ready => json_answer(StatusCode::OK, &json!({"ready": true})),
        Readiness::Not(reason) => json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"ready": false, "reason": reason}),
        ),
    }
}

async fn calls(_: Operator, State(gate): State<Arc<Gate>>) -> Response {
    json_answer(
        StatusCode::OK,
        &gate.connections.calls.snapshot(clock::now()),
    )
}

async fn handshakes(_: Operator, State(gate): State<Arc<Gate>>) -> Response {
    json_answer(StatusCode::OK, &gate.connections.handshakes.snapshot())
}

fn json_answer<T: serde::Serialize>(status: StatusCode, body: &T) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, crate::record::to_json(body)).into_response()
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
