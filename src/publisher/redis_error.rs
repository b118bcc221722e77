//! What Redis's errors mean for a lane, and what they tell the operator to do (5.7).

/// How a refused command is treated. Nothing that was refused is dropped: it is kept and sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It passes by itself: send again.
    Busy,
    /// Another server is in charge now: connect anew.
    Moved,
    OutOfMemory,
    /// The server cannot write its disk.
    Misconfigured,
    Denied,
    WrongType,
    UnknownCommand,
    Other,
}

impl Class {
    /// From the first word of the error.
    pub(super) fn of(error: &str) -> Self {
        match error.split(' ').next().unwrap_or_default() {
            "LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS"
            | "UNBLOCKED" => Self::Busy,
            "READONLY" | "MOVED" | "ASK" => Self::Moved,
            "OOM" => Self::OutOfMemory,
            "MISCONF" => Self::Misconfigured,
            "NOAUTH" | "WRONGPASS" | "NOPERM" => Self::Denied,
            "WRONGTYPE" => Self::WrongType,
            "ERR" if error.contains("unknown command") => Self::UnknownCommand,
            "ERR" if error.contains("invalid password") || error.contains("Client sent AUTH") => {
                Self::Denied
            }
            _ => Self::Other,
        }
    }

    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Busy => "wait: it passes by itself, and nothing is lost meanwhile",
            Self::Moved => "point REDIS_URL at the primary: this server is a replica",
            Self::OutOfMemory => "raise maxmemory, or lower AUDIO_STREAM_RETENTION_S",
            Self::Misconfigured => "free disk space on the Redis server or mend its persistence",
            Self::Denied => {
                "correct user and password in REDIS_URL, or the user's rights (MULTI, EXEC, XADD, XTRIM, XRANGE, XREVRANGE, SET, GET, XGROUP, XINFO, XPENDING, CLIENT, INFO, PING)"
            }
            Self::WrongType => {
                "the key holds something else than a stream: rename it, or set AUDIO_STREAM to another name"
            }
            Self::UnknownCommand => {
                "use Redis 6.2 or newer, with MULTI, EXEC, XADD, XTRIM, XRANGE, XREVRANGE, SET, GET, XGROUP, XINFO, XPENDING, CLIENT, INFO and PING not renamed"
            }
            Self::Other => "see the error's own words",
        }
    }

    /// What it is counted as.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Moved => "moved",
            Self::OutOfMemory => "out_of_memory",
            Self::Misconfigured => "misconfigured",
            Self::Denied => "denied",
            Self::WrongType => "wrong_type",
            Self::UnknownCommand => "unknown_command",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_their_first_word() {
        let check = |error, class| assert_eq!(Class::of(error), class, "{error}");
        check(
            "OOM command not allowed when used memory > 'maxmemory'.",
            Class::OutOfMemory,
        );
        check(
            "READONLY You can't write against a read only replica.",
            Class::Moved,
        );
        check(
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            Class::WrongType,
        );
        check(
            "ERR unknown command 'XADD', with args beginning with: ",
            Class::UnknownCommand,
        );
        check(
            "WRONGPASS invalid username-password pair or user is disabled.",
            Class::Denied,
        );
        check(
            "ERR Client sent AUTH, but no password is set.",
            Class::Denied,
        );
        check("ERR something new", Class::Other);
        check("", Class::Other);
    }
}
