//! Why a connection to Redis is given up or does not come about, in words for the operator.

use std::{io, time::Duration};

use crate::publisher::{
    counts::{BROKEN, CONNECT, PROTOCOL, TIMEOUT},
    link::LinkError,
    redis_error::Class,
};

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(
        "the connection to Redis broke ({0}): see whether the server runs and the network holds"
    )]
    Io(#[from] io::Error),
    #[error("Redis has not answered for {} ms: see what keeps it busy, and whether the network holds", .0.as_millis())]
    Silent(Duration),
    #[error("Redis refuses to write ({error}); {advice}", advice = Class::of(.error).advice())]
    Refused { error: String },
    #[error("Redis sent what cannot be read: {0}")]
    Protocol(String),
}

pub(super) fn describe(error: &LinkError) -> String {
    match error {
        LinkError::Connect { .. } | LinkError::Timeout | LinkError::Broken(_) => {
            format!("{error}; check REDIS_URL and that the server runs")
        }
        other => other.to_string(),
    }
}

/// What it is counted as; a refusal was counted when it came.
pub(super) fn class_of_loss(broken: &Broken) -> Option<&'static str> {
    match broken {
        Broken::Io(_) => Some(BROKEN),
        Broken::Silent(_) => Some(TIMEOUT),
        Broken::Refused { .. } => None,
        Broken::Protocol(_) => Some(PROTOCOL),
    }
}

/// What it is counted as.
pub(super) fn class_of_attempt(error: &LinkError) -> &'static str {
    match error {
        LinkError::Connect { .. } => CONNECT,
        LinkError::Timeout => TIMEOUT,
        LinkError::Broken(_) => BROKEN,
        LinkError::Refused { error, .. } => Class::of(error).name(),
        LinkError::Protocol(_) => PROTOCOL,
        LinkError::Url(_) | LinkError::Pem { .. } | LinkError::Tls(_) => Class::Other.name(),
    }
}
