//! What the URL of an upgrade says (3.1): token, session, and parameters; and how much of it may be shown.
//!
//! Invariant: no secret, and no value of a parameter that we do not know, is in what is shown.

use std::borrow::Cow;

use crate::{frame::clip, intake::Hints};

/// The part of the path behind the route.
pub(super) enum Tail {
    None,
    Token(String),
    Session(String),
}

/// What path and query say.
pub(super) struct Url {
    pub(super) token: Option<String>,
    pub(super) query_token: Option<String>,
    pub(super) hints: Hints,
    /// For the log: no secrets, and no values of parameters that we do not know.
    pub(super) shown: String,
}

impl Url {
    pub(super) fn read(query: Option<&str>, tail: &Tail) -> Self {
        let mut url = Self {
            token: None,
            query_token: None,
            hints: Hints::default(),
            shown: "/v1/ingest".to_owned(),
        };
        match tail {
            Tail::None => {}
            Tail::Token(token) => {
                url.token = Some(token.clone());
                url.shown += "/********";
            }
            Tail::Session(session) => {
                url.hints.call = Some(session.clone()).filter(|session| !session.is_empty());
                url.shown = format!("/ws/voicebot/{}", clip(session, SHOWN_BYTES_MAX));
            }
        }
        let mut mark = '?';
        for (name, value) in
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).take(PARAMETERS_MAX)
        {
            let known = url.take(&name, &value);
            url.shown.push(mark);
            url.shown += clip(&name, SHOWN_BYTES_MAX);
            url.shown.push('=');
            url.shown += &if known {
                Cow::Borrowed(clip(&value, SHOWN_BYTES_MAX))
            } else {
                Cow::Borrowed("********")
            };
            mark = '&';
        }
        url
    }

    /// Takes one parameter; tells whether it is one of ours, and no secret.
    fn take(&mut self, name: &str, value: &str) -> bool {
        let slot = match name {
            "sample-rate" | "sample_rate" => &mut self.hints.rate,
            "encoding" => &mut self.hints.encoding,
            "tenant_id" => &mut self.hints.tenant,
            "CallSid" | "call_sid" => &mut self.hints.call,
            "token" => {
                self.query_token = Some(value.to_owned());
                return false;
            }
            _ => {
                self.hints.parameters.add(name, value);
                return false;
            }
        };
        if !value.is_empty() {
            *slot = Some(value.to_owned());
        }
        true
    }
}

const PARAMETERS_MAX: usize = 64;
const SHOWN_BYTES_MAX: usize = 128;
