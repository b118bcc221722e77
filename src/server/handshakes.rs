//! What is counted of upgrades: how each was answered, and why.
//!
//! Requests that ask for no WebSocket are not among them. Invariant: an upgrade is counted once.

use crate::{connection::counts::protocol, frame::Sender, metrics::Labelled};

/// Upgrades since the start.
#[derive(Debug)]
pub(super) struct Handshakes {
    exotel: Labelled<30>,
    jwt: Labelled<30>,
}

/// One line of the count.
pub(super) struct Count {
    pub(super) protocol: &'static str,
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
    pub(super) times: u64,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            exotel: Labelled::new(REASONS),
            jwt: Labelled::new(REASONS),
        }
    }
}

impl Handshakes {
    pub(super) fn accepted(&self, sender: Sender) {
        self.of(sender).count(NONE);
    }

    pub(super) fn refused(&self, sender: Sender, reason: &str) {
        self.of(sender).count(reason);
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = Count> {
        let senders = [Sender::Exotel, Sender::Custom].into_iter();
        senders.flat_map(|sender| {
            let counts = self.of(sender).iter();
            counts.map(move |(reason, times)| Count {
                protocol: protocol(sender),
                outcome: if reason == NONE {
                    "accepted"
                } else {
                    "refused"
                },
                reason,
                times,
            })
        })
    }

    fn of(&self, sender: Sender) -> &Labelled<30> {
        match sender {
            Sender::Exotel => &self.exotel,
            Sender::Custom => &self.jwt,
        }
    }
}

/// Of those that were accepted.
const NONE: &str = "none";

/// Those of the admission, of its tokens, and of the server.
const REASONS: [&str; 30] = [
    NONE,
    "bad_handshake",
    "not_found",
    "draining",
    "too_many_connections",
    "too_many_from_address",
    "exotel_off",
    "ip_not_allowed",
    "no_credentials",
    "bad_basic",
    "bad_url_token",
    "several_authorizations",
    "scheme",
    "bad_subprotocol",
    "no_jwt_key",
    "malformed_token",
    "token_too_long",
    "token_crit",
    "token_algorithm",
    "bad_signature",
    "no_expiry",
    "bad_token_time",
    "expired",
    "not_yet_valid",
    "wrong_issuer",
    "wrong_audience",
    "bad_token_id",
    "tenant_mismatch",
    "call_mismatch",
    "other",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The text in quotes that follows each of these words.
    fn behind<'c>(code: &'c str, word: &str) -> Vec<&'c str> {
        let calls = code.split(word).skip(1);
        calls
            .filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next())
            .collect()
    }

    #[test]
    fn every_reason_has_its_own_count() {
        let mut reasons = Vec::new();
        for code in [
            include_str!("../admission/credentials.rs"),
            include_str!("../admission/custom.rs"),
            include_str!("../admission/exotel.rs"),
        ] {
            let (code, _) = code.split_once("#[cfg(test)]").unwrap();
            reasons.extend(behind(code, "Refusal::unauthorized("));
            reasons.extend(behind(code, "Refusal::forbidden("));
        }
        let tokens = include_str!("../auth/mod.rs");
        let (_, tokens) = tokens.split_once("fn reason").unwrap();
        let (tokens, _) = tokens.split_once("\n    }\n").unwrap();
        reasons.extend(behind(tokens, "=>"));
        assert!(reasons.len() > 20, "{reasons:?}");
        for reason in reasons {
            assert!(REASONS.contains(&reason), "{reason}");
        }
    }

    #[test]
    fn an_upgrade_is_counted_by_who_asked_and_why_it_was_refused() {
        let handshakes = Handshakes::default();
        handshakes.accepted(Sender::Exotel);
        handshakes.refused(Sender::Custom, "expired");
        handshakes.refused(Sender::Custom, "new");
        let counted = |count: &Count| count.times > 0;
        let counts = handshakes.counts().filter(counted);
        let lines: Vec<_> = counts
            .map(|count| [count.protocol, count.outcome, count.reason])
            .collect();
        assert_eq!(
            lines,
            [
                ["exotel", "accepted", "none"],
                ["jwt", "refused", "expired"],
                ["jwt", "refused", "other"]
            ]
        );
    }
}
