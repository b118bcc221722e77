//! The configuration: from environment, `.env` and secret files to one typed [`Config`], before any port opens.
//!
//! The only reader of the environment. Each part of the service owns its `Settings`; this module knows them all and
//! none of them knows it. Invariants: all problems are found at once; nothing validates again afterwards; no secret
//! leaves by `Debug`, by an error or by [`Config::lines`].

pub mod accepts;
pub mod environment;
pub mod error;
pub mod value;
pub mod var;
pub mod vars;

mod forms;
mod publishing;
mod reader;
mod sections;
mod unknown;
mod urls;

#[cfg(test)]
mod documents;

use std::{
    fs::File,
    io::{self, IsTerminal as _},
    num::NonZeroU32,
    path::Path,
    time::Duration,
};

use crate::{
    admission, auth, connection, journal, publisher, secret::Secret, server, telemetry,
    telemetry::LogFormat,
};

use environment::Environment;
use error::{ConfigErrors, Documents};
use reader::{Noted, Reader};
use value::Value;
use var::Var;

/// All that can be set, checked and typed.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: server::Settings,
    pub connection: connection::Settings,
    pub admission: admission::Settings,
    pub auth: auth::Settings,
    pub publisher: publisher::Settings,
    pub journal: journal::Settings,
    pub telemetry: telemetry::Settings,
    pub default_tenant: String,
    /// Hertz; `None` publishes audio as it came.
    pub target_rate: Option<NonZeroU32>,
    /// `None` publishes messages as they came.
    pub frame_ms: Option<NonZeroU32>,
    /// Scheme, host and perhaps port, without a slash at the end.
    pub public_url: Option<String>,
    pub outbound_buffer: Duration,
    pub ops_token: Option<Secret>,
    /// What is no error and still not as meant, in sentences.
    pub warnings: Vec<String>,
    pub documents: Documents,
    values: Vec<Value>,
}

/// What is wrong with one or several Redis URLs, without quoting them.
pub fn redis_fault(urls: &Secret) -> Option<String> {
    urls::redis(urls.expose()).err()
}

impl Config {
    /// From the environment of this process and the `.env` of its working directory.
    pub fn load() -> Result<Self, ConfigErrors> {
        Self::of_process(Environment::of_process())
    }

    /// The same, but frames are in the Redis at `url`, whatever the environment says of where they go.
    pub fn load_with_redis(url: &Secret) -> Result<Self, ConfigErrors> {
        let mut environment = Environment::of_process();
        environment.replace("REDIS_URL", url.expose());
        environment.replace("PUBSUB_ADAPTER", "redis_streams");
        Self::of_process(environment)
    }

    fn of_process(environment: Environment) -> Result<Self, ConfigErrors> {
        let terminal = io::stderr().is_terminal();
        let unset_format = if terminal {
            LogFormat::Text
        } else {
            LogFormat::Json
        };
        let read_file = |path: &Path| environment::read_bounded(File::open(path)?);
        let colours = terminal && !environment.names().any(|name| name == "NO_COLOR");
        let mut config = Self::from_environment(environment, &read_file, unset_format)?;
        config.telemetry.colours = colours;
        Ok(config)
    }

    /// Whether the environment asks for no colours, however wrong the rest of it is (1.2).
    pub fn no_colour() -> bool {
        let environment = Environment::of_process();
        environment.names().any(|name| name == "NO_COLOR")
    }

    /// From any source of texts. `read_file` is asked for the files that `NAME_FILE` variables name.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
        read_file: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, ConfigErrors> {
        let names = vars::all().flat_map(|var| [Some(var.name.to_owned()), var.file_name()]);
        let set = names
            .flatten()
            .filter_map(|name| lookup(&name).map(|value| (name.into(), value.into())));
        let mut environment = Environment::default();
        environment.add_process(set);
        Self::from_environment(environment, &read_file, LogFormat::Json)
    }

    /// The effective configuration, one `NAME=value # source` for each setting, loadable as a `.env` file.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(Value::line)
    }

    /// The settings that somebody changed and that have no effect in this release; the table says why.
    pub fn pending_set(&self) -> impl Iterator<Item = &'static str> {
        let changed = self.values.iter().filter(|value| value.is_changed());
        changed
            .map(|value| value.var)
            .filter(|var| var.pending.is_some())
            .map(|var| var.name)
    }

    /// The settings that differ from an earlier configuration; whether each may change while calls are live is in
    /// [`Var`].
    pub fn changed_since(&self, earlier: &Self) -> impl Iterator<Item = &'static Var> {
        let pairs = self.values.iter().zip(&earlier.values);
        pairs
            .filter(|(now, then)| !now.equals(then))
            .map(|(now, _)| now.var)
    }

    fn from_environment(
        environment: Environment,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
        unset_format: LogFormat,
    ) -> Result<Self, ConfigErrors> {
        let unknown = unknown::warnings(environment.names());
        let mut reader = Reader::new(environment, read_file);
        reader.warnings.extend(unknown);
        match Self::read(&mut reader, unset_format) {
            Ok(config) if reader.problems.is_empty() => Ok(Self {
                values: reader.values,
                warnings: reader.warnings,
                documents: reader.documents,
                ..config
            }),
            Ok(_) | Err(Noted) => Err(ConfigErrors {
                problems: reader.problems,
                documents: Box::new(reader.documents),
            }),
        }
    }

    fn read(reader: &mut Reader, unset_format: LogFormat) -> Result<Self, Noted> {
        let server = sections::server(reader);
        let connection = sections::connection(reader);
        let admission = sections::admission(reader);
        let auth = sections::auth(reader);
        if let (Ok(admission), Ok(auth)) = (&admission, &auth)
            && !admission.support_exotel
            && auth.public_keys.is_none()
            && auth.jwks_url.is_none()
        {
            reader.warn("nobody can connect: set SUPPORT_EXOTEL=true or JWT_PUBLIC_KEY, or both");
        }
        let publisher = publishing::publisher(reader);
        let journal = sections::journal(reader);
        if let (Ok(connection), Ok(journal)) = (&connection, &journal) {
            sections::check_room(reader, connection.max_message_bytes, journal.max_bytes)?;
        }
        let telemetry = sections::telemetry(reader, unset_format);
        let default_tenant = reader.required("DEFAULT_TENANT", forms::name);
        let target_rate = reader.whole("AUDIO_TARGET_RATE").map(NonZeroU32::new);
        let frame_ms = reader.whole("AUDIO_FRAME_MS").map(NonZeroU32::new);
        let public_url = reader.optional("PUBLIC_URL", urls::public);
        let outbound_buffer = reader.time("OUTBOUND_BUFFER_S");
        let ops_token = reader.optional("OPS_TOKEN", forms::token);
        Ok(Self {
            server: server?,
            connection: connection?,
            admission: admission?,
            auth: auth?,
            publisher: publisher?,
            journal: journal?,
            telemetry: telemetry?,
            default_tenant: default_tenant?,
            target_rate: target_rate?,
            frame_ms: frame_ms?,
            public_url: public_url?,
            outbound_buffer: outbound_buffer?,
            ops_token: ops_token?,
            warnings: Vec::new(),
            documents: Documents::default(),
            values: Vec::new(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration of these settings and nothing else.
    pub(crate) fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let lookup = |name: &str| {
            let found = pairs.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(lookup, |_| Err(io::ErrorKind::NotFound.into()))
    }

    #[test]
    fn nothing_set_is_a_whole_configuration() {
        let config = with(&[]).unwrap();
        assert_eq!(
            (config.server.port, config.server.max_connections),
            (8443, 10_000)
        );
        assert_eq!(config.server.drain_timeout, Duration::from_secs(25));
        assert_eq!(config.default_tenant, "exotel");
        assert_eq!((config.target_rate, config.frame_ms), (None, None));
        assert_eq!(
            config.publisher.trim,
            publisher::Trim::Age(Duration::from_mins(2))
        );
        assert_eq!(config.telemetry.format, LogFormat::Json);
        assert!(config.ops_token.is_none() && config.public_url.is_none());
        assert_eq!(config.pending_set().count(), 0);
        assert!(config.warnings.len() == 1 && config.warnings[0].starts_with("nobody can connect"));
    }

    #[test]
    fn all_errors_at_once_and_no_secret_among_them() {
        let errors = with(&[
            ("PORT", "70000"),
            ("REDIS_URL", "redis//:hunter2@h"),
            ("SSL_CERT_PATH", "cert.pem"),
            ("EXOTEL_BASIC_AUTH", "hunter2"),
            ("AUDIO_STREAM_RETENTION_S", "60"),
            ("AUDIO_STREAM_MAXLEN", "1000"),
            ("OPS_TOKEN", "hunter 2"),
            ("JWT_PUBLIC_KEY", "hunter2"),
            ("REDIS_SENTINEL_PASSWORD_FILE", "/missing"),
        ])
        .unwrap_err();
        let mut names: Vec<&str> = errors
            .problems
            .iter()
            .map(|problem| problem.name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "AUDIO_STREAM_MAXLEN",
                "EXOTEL_BASIC_AUTH",
                "JWT_PUBLIC_KEY",
                "OPS_TOKEN",
                "PORT",
                "REDIS_SENTINEL_PASSWORD_FILE",
                "REDIS_URL",
                "SSL_CERT_PATH",
            ]
        );
        let text = format!("{errors} {errors:?}");
        assert!(!text.contains("hunter"), "{text}");
        assert!(
            text.contains("PORT=\"70000\": out of range; accepted: a whole number from 0 to 65535"),
            "{text}"
        );
    }

    #[test]
    fn secrets_are_masked_wherever_a_configuration_is_printed() {
        let pem = "-----BEGIN PUBLIC KEY-----\\nhunter2\\n-----END PUBLIC KEY-----";
        let config = with(&[
            ("REDIS_URL", "redis://:hunter2@h"),
            ("REDIS_SENTINEL_PASSWORD", "hunter2"),
            ("EXOTEL_BASIC_AUTH", "key:hunter2"),
            ("EXOTEL_URL_TOKENS", "hunter2"),
            ("JWT_PUBLIC_KEY", pem),
            ("OPS_TOKEN", "hunter2"),
        ])
        .unwrap();
        let lines: Vec<String> = config.lines().collect();
        assert!(!format!("{config:?} {lines:?}").contains("hunter"));
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.ends_with("=******** # environment"))
                .count(),
            6
        );
        assert_eq!(vars::all().filter(|var| var.secret).count(), 6);
    }

    #[test]
    fn what_check_prints_loads_as_the_same_configuration() {
        let config = with(&[
            ("JOURNAL_DIR", "/a b/$c\"d'"),
            ("AUDIO_STREAM_MAXLEN", "0"),
            ("IDLE_TIMEOUT_S", "2m"),
        ])
        .unwrap();
        let text = config.lines().collect::<Vec<_>>().join("\n");
        let loaded = documents::from_dot_env(&text);
        assert_eq!(
            config
                .changed_since(&loaded)
                .map(|var| var.name)
                .collect::<Vec<_>>(),
            Vec::<&str>::new()
        );
        assert_eq!(loaded.journal.dir, Path::new("/a b/$c\"d'"));
    }

    #[test]
    fn changes_and_pending_settings_are_named() {
        let now = with(&[
            ("OPS_TOKEN", "new"),
            ("PORT", "1"),
            ("AUDIO_FRAME_MS", "100"),
        ])
        .unwrap();
        let then = with(&[("OPS_TOKEN", "old"), ("PORT", "1")]).unwrap();
        let changed: Vec<_> = now
            .changed_since(&then)
            .map(|var| (var.name, var.reloadable))
            .collect();
        assert_eq!(changed, [("AUDIO_FRAME_MS", false), ("OPS_TOKEN", true)]);
        let pending: Vec<_> = now.pending_set().collect();
        assert_eq!(pending, ["AUDIO_FRAME_MS"]);
    }

    #[test]
    fn the_journal_has_room_for_the_largest_message() {
        let settings = |journal, message| {
            with(&[
                ("JOURNAL_MAX_BYTES", journal),
                ("MAX_MESSAGE_BYTES", message),
            ])
        };
        assert!(settings("1048576", "262144").is_ok());
        let error = settings("1048576", "262145").unwrap_err().to_string();
        for word in ["JOURNAL_MAX_BYTES", "MAX_MESSAGE_BYTES", "1048580"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
