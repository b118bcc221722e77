//! What a custom client is told (3.8), as text; an Exotel connection is told nothing.

use serde_json::json;

/// Why a custom client is turned away, and the close code that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    BadStart,
    BadMessage,
    BadAudio,
    UnsupportedEncoding,
    Forbidden,
    TooLarge,
    Overloaded,
    ShuttingDown,
    Internal,
}

impl ErrorCode {
    pub fn name(self) -> &'static str {
        match self {
            Self::BadStart => "bad_start",
            Self::BadMessage => "bad_message",
            Self::BadAudio => "bad_audio",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
        }
    }

    pub fn close_code(self) -> u16 {
        match self {
            Self::BadStart | Self::BadMessage | Self::BadAudio | Self::UnsupportedEncoding => {
                close::BAD_PAYLOAD
            }
            Self::Forbidden => close::POLICY,
            Self::TooLarge => close::TOO_LARGE,
            Self::Overloaded => close::TRY_AGAIN,
            Self::ShuttingDown => close::GOING_AWAY,
            Self::Internal => close::INTERNAL,
        }
    }
}

/// The close codes of RFC 6455 that we send.
pub mod close {
    pub const NORMAL: u16 = 1000;
    pub const GOING_AWAY: u16 = 1001;
    pub const PROTOCOL: u16 = 1002;
    pub const BAD_PAYLOAD: u16 = 1007;
    pub const POLICY: u16 = 1008;
    pub const TOO_LARGE: u16 = 1009;
    pub const INTERNAL: u16 = 1011;
    pub const TRY_AGAIN: u16 = 1013;
}

pub fn started(interaction_id: &str, next_seq: u64) -> String {
    json!({"event": "started", "interaction_id": interaction_id, "next_seq": next_seq}).to_string()
}

pub fn ack(seq: u64) -> String {
    format!(r#"{{"event":"ack","seq":{seq}}}"#)
}

pub fn error(code: ErrorCode, message: &str) -> String {
    json!({"event": "error", "code": code.name(), "message": message}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_read_as_promised() {
        assert_eq!(ack(42), r#"{"event":"ack","seq":42}"#);
        assert_eq!(
            started("a\"b", 1),
            r#"{"event":"started","interaction_id":"a\"b","next_seq":1}"#
        );
        let text = error(ErrorCode::Forbidden, "not yours");
        assert_eq!(
            text,
            r#"{"code":"forbidden","event":"error","message":"not yours"}"#
        );
        assert_eq!(ErrorCode::Forbidden.close_code(), 1008);
    }
}
