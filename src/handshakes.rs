//! The handshake book (6.5): the last attempts to open a WebSocket, let in or not, with what to change.
//!
//! The server writes an entry for each attempt, and a connection changes its own if it is turned away later, by what it
//! said first (3.3, 3.4). Deciding, answering and logging are theirs. Invariants: there are at most `KEPT` entries, each of
//! a few kilobytes at most; nothing secret is ever handed in, and nothing is written for a frame.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use crate::{
    clock,
    frame::{Now, Sender, clip},
};

/// The book. Whoever shares it holds it in an `Arc` of its own.
#[derive(Debug, Default)]
pub struct Handshakes(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// Newest first.
    entries: VecDeque<Arc<Handshake>>,
    noted: u64,
    revision: u64,
}

/// What a request showed of itself, without its secrets.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// As decided through trusted proxies; `unknown` where that gave no answer.
    pub client: String,
    pub user_agent: String,
    pub path: String,
    /// Whose credentials it brought, if they could be read.
    pub protocol: Option<Sender>,
}

/// One entry, as `GET /v1/handshakes` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Handshake {
    /// Counts the attempts since the start, from 1.
    pub number: u64,
    #[serde(serialize_with = "clock::serialize_rfc3339")]
    pub time: u64,
    pub client: String,
    pub user_agent: String,
    pub path: String,
    /// `exotel` or `jwt`.
    pub protocol: Option<&'static str>,
    /// What the log calls the connection that came of it.
    pub connection: Option<String>,
    pub outcome: Outcome,
    /// Of the HTTP answer; where the connection was turned away later, the code of its close (1000 and above).
    pub status: u16,
    /// The label of the refusal, as in the answer's body.
    pub error: Option<&'static str>,
    /// In words that say what to change.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Accepted,
    Refused,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy)]
pub struct Why<'a> {
    pub status: u16,
    pub error: &'static str,
    pub reason: &'a str,
}

/// The whole book, newest first: the body of `GET /v1/handshakes`.
#[derive(Debug, Serialize)]
pub struct Listing {
    #[serde(serialize_with = "each")]
    pub handshakes: Vec<Arc<Handshake>>,
}

impl Handshakes {
    /// An attempt was let in, as this connection.
    pub fn note_accepted(&self, attempt: &Attempt, connection: &str, now: Now) {
        self.note(attempt, Some(connection), None, now);
    }

    pub fn note_refused(&self, attempt: &Attempt, why: &Why<'_>, now: Now) {
        self.note(attempt, None, Some(why), now);
    }

    /// A connection that had been let in was turned away by what it said first. One that is no longer in the book has no
    /// entry to change.
    pub fn note_refused_late(&self, connection: &str, why: &Why<'_>) {
        let mut book = self.0.lock();
        let mut entries = book.entries.iter_mut();
        let Some(entry) = entries.find(|entry| entry.connection.as_deref() == Some(connection))
        else {
            return;
        };
        // A snapshot that somebody still holds stays as it was.
        Arc::make_mut(entry).refuse(why);
        book.revision += 1;
    }

    pub fn snapshot(&self) -> Listing {
        Listing {
            handshakes: self.0.lock().entries.iter().cloned().collect(),
        }
    }

    /// Rises with every change: a snapshot of the same revision is the same.
    pub fn revision(&self) -> u64 {
        self.0.lock().revision
    }

    fn note(&self, attempt: &Attempt, connection: Option<&str>, why: Option<&Why<'_>>, now: Now) {
        let mut handshake = Handshake {
            number: 0,
            time: now.epoch_ms,
            client: clip(&attempt.client, SHORT_BYTES_MAX).to_owned(),
            user_agent: clip(&attempt.user_agent, SHORT_BYTES_MAX).to_owned(),
            path: clip(&attempt.path, LONG_BYTES_MAX).to_owned(),
            protocol: attempt.protocol.map(Sender::name),
            connection: connection.map(str::to_owned),
            outcome: Outcome::Accepted,
            status: SWITCHING_PROTOCOLS,
            error: None,
            reason: None,
        };
        if let Some(why) = why {
            handshake.refuse(why);
        }
        let mut book = self.0.lock();
        book.noted += 1;
        book.revision += 1;
        handshake.number = book.noted;
        book.entries.truncate(KEPT - 1);
        book.entries.push_front(Arc::new(handshake));
    }
}

impl Handshake {
    fn refuse(&mut self, why: &Why<'_>) {
        self.outcome = Outcome::Refused;
        self.status = why.status;
        self.error = Some(why.error);
        self.reason = Some(clip(why.reason, LONG_BYTES_MAX).to_owned());
    }
}

fn each<S: Serializer>(handshakes: &[Arc<Handshake>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(handshakes.iter().map(|handshake| &**handshake))
}

/// What 6.5 promises; with the bounds below less than 400 KB.
const KEPT: usize = 200;
const SHORT_BYTES_MAX: usize = 256;
const LONG_BYTES_MAX: usize = 512;
const SWITCHING_PROTOCOLS: u16 = 101;

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(path: &str) -> Attempt {
        Attempt {
            client: "203.0.113.7".to_owned(),
            user_agent: "Go-http-client/1.1".to_owned(),
            path: path.to_owned(),
            protocol: Some(Sender::Exotel),
        }
    }

    fn at(epoch_ms: u64) -> Now {
        Now {
            epoch_ms,
            ..clock::now()
        }
    }

    const WRONG: Why<'static> = Why {
        status: 1008,
        error: "bad_url_token",
        reason: "change it",
    };

    #[test]
    fn entries_look_as_the_contract_has_them() {
        let book = Handshakes::default();
        book.note_accepted(&attempt("/v1/ingest"), "c1", at(1_762_500_000_123));
        let json = serde_json::to_value(book.snapshot()).unwrap();
        let expected = serde_json::json!({"handshakes": [{
            "number": 1, "time": "2025-11-07T07:20:00.123Z", "client": "203.0.113.7",
            "user_agent": "Go-http-client/1.1", "path": "/v1/ingest", "protocol": "exotel", "connection": "c1",
            "outcome": "accepted", "status": 101, "error": null, "reason": null}]});
        assert_eq!(json, expected);
    }

    #[test]
    fn a_late_refusal_changes_its_own_entry_and_no_snapshot() {
        let book = Handshakes::default();
        for connection in ["c1", "c2", "c3"] {
            book.note_accepted(&attempt("/"), connection, at(0));
        }
        let (before, revision) = (book.snapshot(), book.revision());
        book.note_refused_late("c2", &WRONG);
        book.note_refused_late("gone", &WRONG);
        assert_eq!(book.revision(), revision + 1);
        let outcomes: Vec<_> = book.snapshot().handshakes;
        let outcomes: Vec<_> = outcomes
            .iter()
            .map(|one| (one.outcome, one.status))
            .collect();
        let (accepted, refused) = ((Outcome::Accepted, 101), (Outcome::Refused, 1008));
        assert_eq!(outcomes, [accepted, refused, accepted]);
        assert!(before.handshakes.iter().all(|one| one.error.is_none()));
    }

    #[test]
    fn the_newest_are_kept_and_none_is_large() {
        let book = Handshakes::default();
        let long = "é".repeat(100_000);
        let huge = Attempt {
            client: long.clone(),
            user_agent: long.clone(),
            path: long.clone(),
            protocol: None,
        };
        let why = Why {
            reason: &long,
            ..WRONG
        };
        for _ in 0..KEPT + 3 {
            book.note_refused(&huge, &why, at(0));
        }
        let numbers: Vec<u64> = book
            .snapshot()
            .handshakes
            .iter()
            .map(|one| one.number)
            .collect();
        assert_eq!(numbers, (4..=KEPT as u64 + 3).rev().collect::<Vec<_>>());
        assert!(serde_json::to_vec(&book.snapshot()).unwrap().len() < 400_000);
    }
}
