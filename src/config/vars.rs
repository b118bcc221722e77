//! Every setting there is: name, default, what it accepts, meaning. `.env.example`, the table in the README,
//! `check` and the messages about bad values are made from this table or tested against it.
//!
//! How a text becomes a typed value is in `sections.rs`. Invariant: what is not here cannot be set,
//! because the reader looks its limits up here.

use std::time::Duration;

use super::{
    accepts::Accepts::{self, Flag, OneOf, Time, Whole, Words, ZeroOr, ZeroOrDecimal},
    var::{
        Fallback::{Depends, Nothing, Value},
        Var, var,
    },
};

/// The settings under their headings, in the order in which documents list them.
pub const GROUPS: &[(&str, &[Var])] = &[
    ("Listening", LISTENING),
    ("Where frames go", DESTINATION),
    ("What is published", PUBLISHED),
    ("Exotel", EXOTEL),
    ("Custom clients", CLIENTS),
    ("Limits", LIMITS),
    ("Operations", OPERATIONS),
];

/// All settings, in the order of [`GROUPS`].
pub fn all() -> impl Iterator<Item = &'static Var> {
    GROUPS.iter().flat_map(|(_, vars)| vars.iter())
}

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Var> {
    all().find(|var| var.name == name)
}

const LISTENING: &[Var] = &[
    var(
        "PORT",
        Value("8443"),
        Whole(0, 65535),
        "listen port; 0 = any free port, printed in the ready line",
    ),
    var(
        "HOST",
        Value("::"),
        Words("an IPv4 or IPv6 address, such as 127.0.0.1 or ::"),
        "listen address; `::` takes IPv4 too; where IPv6 is off, falls back to 0.0.0.0",
    ),
    var(
        "SSL_CERT_PATH",
        Nothing,
        PEM,
        "PEM file of the certificate chain: serve wss and https directly; read again \
         on SIGHUP",
    )
    .reloadable(),
    var(
        "SSL_KEY_PATH",
        Nothing,
        PEM,
        "PEM file of the certificate's private key; read again on SIGHUP",
    )
    .reloadable(),
    var(
        "PUBLIC_URL",
        Nothing,
        Words("wss://host or ws://host, with :port where needed and nothing after it"),
        "what the outside calls us, for the URLs that we hand out: `wss://host[:port]`",
    )
    .pending("handing out our own URL"),
];

const DESTINATION: &[Var] = &[
    var(
        "PUBSUB_ADAPTER",
        Depends("`redis_streams` if `REDIS_URL` is set, else `journal`"),
        OneOf(&["redis_streams", "journal"]),
        "where frames go; `redis_streams` without `REDIS_URL` is a configuration error",
    ),
    var(
        "REDIS_URL",
        Nothing,
        Words(
            "redis://[user:password@]host[:port][/db], rediss:// for TLS, or unix:///path; \
         several, comma separated, for cluster or sentinel; special characters in \
         passwords as %2C and the like",
        ),
        "`redis://`, `rediss://`, `unix://`; several, comma separated, for cluster or \
         sentinel",
    )
    .secret(),
    var(
        "REDIS_TLS_CA",
        Nothing,
        PEM,
        "PEM file of a private CA for `rediss://`",
    ),
    var(
        "REDIS_TLS_CERT",
        Nothing,
        PEM,
        "PEM file of our client certificate for `rediss://`",
    ),
    var(
        "REDIS_TLS_KEY",
        Nothing,
        PEM,
        "PEM file of the client certificate's private key",
    ),
    var(
        "REDIS_CLUSTER",
        Value("false"),
        Flag,
        "the URLs are seeds of a Redis Cluster",
    )
    .pending("Redis Cluster"),
    var(
        "REDIS_SENTINEL_MASTER",
        Nothing,
        NAME,
        "the URLs name Sentinels, this names the master; user, password and database are its",
    )
    .pending("Redis Sentinel"),
    var(
        "REDIS_SENTINEL_PASSWORD",
        Nothing,
        PASSWORD,
        "the Sentinels' own password",
    )
    .secret()
    .pending("Redis Sentinel"),
    var(
        "JOURNAL_DIR",
        Value("./data/journal"),
        Words("the path of a directory"),
        "where the journal lives, also with Redis: it carries frames over an outage. One directory \
         per instance, on a disk that stays",
    ),
    var(
        "JOURNAL_MAX_BYTES",
        Value("1073741824"),
        Whole(1 << 20, 1 << 50),
        "room for the journal; when it is full while Redis is away, Exotel's newest audio is \
         dropped and custom clients are slowed; without a Redis the oldest is removed",
    ),
];

const PUBLISHED: &[Var] = &[
    var(
        "AUDIO_STREAM",
        Value("audio_stream"),
        Words(
            "a Redis key of 1 to 256 visible characters other than call_end and call_events, \
         and without braces where AUDIO_STREAM_SHARDS is above 1",
        ),
        "stream key of the frames",
    ),
    var(
        "AUDIO_STREAM_SHARDS",
        Value("1"),
        Whole(1, 1024),
        "n > 1: keys `audio_stream:{0}` to `audio_stream:{n-1}`, a call always in one of them",
    ),
    var(
        "AUDIO_STREAM_RETENTION_S",
        Value("120"),
        Time(SECOND, MONTH),
        "entries are kept about this long; 100 calls at 8 kHz in frames of 20 ms for 120 s are \
         about 490 MB, with `FRAME_FORMAT=fields` 350 MB",
    ),
    var(
        "AUDIO_STREAM_MAXLEN",
        Nothing,
        Whole(0, 1 << 50),
        "keep about this many entries instead (one of the two); 0 = never trim",
    ),
    var(
        "AUDIO_CONSUMER_GROUPS",
        Nothing,
        Words("up to 64 different names, comma separated"),
        "consumer groups, comma separated, created at start from the stream's beginning",
    ),
    var(
        "AUDIO_TARGET_RATE",
        Value("0"),
        ZeroOr(8000, 48000),
        "resample everything published to this rate; 0 = as received",
    )
    .pending("resampling"),
    var(
        "AUDIO_FRAME_MS",
        Value("0"),
        ZeroOr(5, 10_000),
        "regroup a call's audio into frames of this length; 0 = as received",
    )
    .pending("regrouping"),
    var(
        "PUBLISH_GATHER_US",
        Value("1000"),
        Whole(0, 1_000_000),
        "frames that arrive within this many microseconds leave in one write; 0 = write \
         at once",
    ),
    var(
        "FRAME_FORMAT",
        Value("json"),
        OneOf(&["json", "fields"]),
        "`json`: one JSON text per entry; `fields`: the same names as stream fields, \
         `audio` as raw bytes",
    ),
    var(
        "DEFAULT_TENANT",
        Value("exotel"),
        NAME,
        "tenant_id where nothing names one",
    ),
];

const EXOTEL: &[Var] = &[
    var(
        "SUPPORT_EXOTEL",
        Value("false"),
        Flag,
        "accept connections without a JWT as Exotel's",
    ),
    var(
        "EXOTEL_BASIC_AUTH",
        Nothing,
        Words("KEY:TOKEN, several comma separated, neither part empty"),
        "`KEY:TOKEN` that Exotel must send, several comma separated (rotation)",
    )
    .secret()
    .reloadable(),
    var(
        "EXOTEL_ALLOWED_IPS",
        Nothing,
        RANGES,
        "addresses and CIDR ranges that Exotel may come from, comma separated, IPv4 and IPv6",
    )
    .reloadable(),
    var(
        "TRUSTED_PROXIES",
        Nothing,
        RANGES,
        "CIDR ranges, comma separated, whose `X-Forwarded-For` is believed",
    )
    .reloadable(),
    var(
        "EXOTEL_URL_TOKENS",
        Nothing,
        Words("tokens without ? # % or spaces, comma separated"),
        "secrets, comma separated (rotation): the URL given to Exotel carries one",
    )
    .secret()
    .reloadable(),
];

const CLIENTS: &[Var] = &[
    var(
        "JWT_PUBLIC_KEY",
        Nothing,
        Words(
            "PEM public keys from -----BEGIN to -----END, one after another; \\n for line \
         breaks is accepted",
        ),
        "PEM, one or several after another; `\\n` escapes and surrounding quotes are \
         accepted; RSA is RS256, P-256 is ES256, Ed25519 is EdDSA",
    )
    .secret()
    .reloadable(),
    var(
        "JWT_JWKS_URL",
        Nothing,
        Words("an https:// or http:// URL without user and password"),
        "keys from a JWKS document, instead of or beside the PEM",
    )
    .reloadable()
    .pending("key sets"),
    var("JWT_ISSUER", Nothing, NAME, "required `iss`, where set").reloadable(),
    var("JWT_AUDIENCE", Nothing, NAME, "required `aud`, where set").reloadable(),
    var(
        "JWT_LEEWAY_S",
        Value("30"),
        Time(Duration::ZERO, HOUR),
        "clock skew allowed",
    )
    .reloadable(),
    var(
        "ACK_INTERVAL",
        Value("10"),
        Whole(1, 1_000_000),
        "an ack at least every this many frames",
    ),
];

const LIMITS: &[Var] = &[
    var(
        "MAX_CONNECTIONS",
        Value("10000"),
        Whole(1, 1_000_000),
        "beyond it upgrades get 503; lowered where the open-file limit does not suffice",
    ),
    var(
        "MAX_CONNECTIONS_PER_IP",
        Value("0"),
        Whole(0, 1_000_000),
        "beyond it upgrades get 429; 0 = off",
    ),
    var(
        "MAX_MESSAGE_BYTES",
        Value("262144"),
        Whole(128, 64 << 20),
        "larger WebSocket messages: close 1009",
    ),
    var(
        "MAX_RATE_FACTOR",
        Value("0"),
        ZeroOrDecimal(1.0, 1000.0),
        "audio may arrive at most this many times faster than real time; 0 = off",
    )
    .pending("the limit on faster than real time"),
    var(
        "OUTBOUND_BUFFER_S",
        Value("120"),
        Time(TENTH, HOUR),
        "audio back to the caller kept per call; more is dropped and counted",
    )
    .pending("audio back to the caller"),
    var(
        "HANDSHAKE_TIMEOUT_S",
        Value("10"),
        Time(TENTH, HOUR),
        "request headers and upgrade must be complete in this time",
    ),
    var(
        "IDLE_TIMEOUT_S",
        Value("60"),
        Time(TENTH, DAY),
        "no message at all and no pong to our pings for so long: close 1001",
    ),
    var(
        "MAX_CALL_S",
        Value("14400"),
        Time(TENTH, MONTH),
        "close 1000 after it",
    ),
    var(
        "DRAIN_TIMEOUT_S",
        Value("25"),
        Time(Duration::ZERO, DAY),
        "on SIGTERM live calls may go on so long; keep it below the platform's kill delay",
    ),
];

const OPERATIONS: &[Var] = &[
    var(
        "LOG_FORMAT",
        Depends("`text` on a terminal, else `json`"),
        OneOf(&["text", "json"]),
        "how log lines look, on standard error",
    ),
    var(
        "RUST_LOG",
        Value("info"),
        Words("a tracing filter, such as info, debug or rtaa_ingest=debug,info"),
        "which log lines are written: a tracing filter",
    ),
    var(
        "OPS_TOKEN",
        Nothing,
        SECRET,
        "bearer token, or the Basic password, for `/v1/calls`, `/v1/handshakes`, `/metrics` \
         and `/live` from other than loopback; unset: loopback only",
    )
    .secret()
    .reloadable(),
];

const PEM: Accepts = Words("the path of a PEM file");
const NAME: Accepts = Words("1 to 256 visible characters");
const PASSWORD: Accepts = Words("1 to 1024 characters on one line");
const SECRET: Accepts = Words("1 to 1024 visible ASCII characters without spaces");
const RANGES: Accepts = Words(
    "addresses and CIDR ranges, comma separated, such as 203.0.113.7, 198.51.100.0/24 \
         or 2001:db8::/32",
);
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const MONTH: Duration = Duration::from_hours(30 * 24);
