//! The operators' page (6.6): `GET /live`, and the events that keep it up to date, `GET /live/events`.
//!
//! The page is one document, put together of the files beside this one; what it is told is made in `view.rs`. Invariants:
//! nothing of it is loaded from elsewhere, and the browser is told to hold it to that; nothing runs while nobody looks.

mod view;

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::stream::unfold;

use self::view::Viewer;
pub(super) use self::view::Viewers;
use super::{Gate, ops_access::Operator, routes::refuse};

/// The document, and what it may do.
struct Page {
    html: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let style = include_str!("page.css");
    let script = concat!(
        include_str!("words.js"),
        include_str!("rows.js"),
        include_str!("page.js")
    );
    Page {
        html: include_str!("page.html")
            .replace(STYLE_HERE, style)
            .replace(SCRIPT_HERE, script),
        policy: format!(
            "default-src 'none'; connect-src 'self'; img-src data:; style-src {}; script-src {}; base-uri 'none'; \
             frame-ancestors 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            hash(style),
            hash(script)
        ),
    }
});

pub(super) async fn page(_: Operator) -> Response {
    let page = &*PAGE;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, page.policy.as_str()),
    ];
    (headers, GUARDED, page.html.as_str()).into_response()
}

pub(super) async fn events(_: Operator, State(gate): State<Arc<Gate>>) -> Response {
    let Some(viewer) = Viewer::sit_down(gate) else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_viewers",
            "as many people look at this page as may at once: close it elsewhere, or ask /v1/calls and /v1/handshakes",
        );
    };
    let events = unfold(viewer, async |mut viewer| {
        let events = viewer.next().await?;
        Some((Ok::<_, Infallible>(events), viewer))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // Proxies that gather answers before they pass them on are asked not to.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, GUARDED, Body::from_stream(events)).into_response()
}

/// How the policy names an inline style or script that may be there.
fn hash(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(digest.as_ref()))
}

const GUARDED: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];
/// Where the document leaves room, so that each language has a file of its own.
const STYLE_HERE: &str = "/* page.css */";
const SCRIPT_HERE: &str = "/* words.js, rows.js, page.js */";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_names_no_other_place() {
        let html = PAGE.html.replace(NAMESPACE, "");
        for missing in [STYLE_HERE, SCRIPT_HERE, "http://", "https://", "innerHTML"] {
            assert!(!html.contains(missing), "{missing}");
        }
        assert!(html.len() < PAGE_BYTES_MAX, "{} bytes", html.len());
        assert_eq!(html.matches("<script").count(), 1);
        assert_eq!(html.matches("</style>").count(), 1);
    }

    #[test]
    fn its_files_are_short_and_say_what_they_are() {
        for (text, head) in [
            (include_str!("page.html"), "<!doctype html>\n<!--"),
            (include_str!("page.css"), "/*"),
            (include_str!("words.js"), "//"),
            (include_str!("rows.js"), "//"),
            (include_str!("page.js"), "//"),
        ] {
            assert!(text.starts_with(head));
            assert!(text.lines().count() <= 400);
        }
    }

    const NAMESPACE: &str = "http://www.w3.org/2000/svg";
    /// A phone on a bad line has it in a second.
    const PAGE_BYTES_MAX: usize = 40_000;
}
