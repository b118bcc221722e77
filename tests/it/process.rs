//! The process as an operator starts it (section 1, 8.3): help, usage, configuration, the ready line.

use std::{path::Path, time::Duration};

use serde_json::json;

use crate::service::{Outcome, Setup, field, run};

const SHORT: Duration = Duration::from_secs(10);

async fn command(env: &[(&str, &str)], args: &[&str]) -> Outcome {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    run(dir.path(), env, args, SHORT).await
}

// 1.2: --help and --version everywhere, on standard output, exit 0.
#[tokio::test]
async fn help_and_version_are_everywhere() {
    let version = command(&[], &["--version"]).await;
    assert_eq!(
        (version.code, version.stdout.trim()),
        (Some(0), concat!("rtaa-ingest ", env!("CARGO_PKG_VERSION")))
    );
    let help = command(&[], &["--help"]).await;
    assert_eq!(help.code, Some(0));
    let commands = [
        "serve", "demo", "simulate", "doctor", "token", "check", "tail", "verify", "export",
    ];
    for name in commands {
        assert!(help.stdout.contains(name), "{name} in {}", help.stdout);
        let help = command(&[], &[name, "--help"]).await;
        assert_eq!(help.code, Some(0), "{name}");
        assert!(help.stdout.contains("Usage"), "{name}: {}", help.stdout);
        assert!(
            !help.stdout.contains('\u{1b}'),
            "1.2: a pipe gets plain text"
        );
    }
}

// 1.3: bad usage is exit 2.
#[tokio::test]
async fn bad_usage_is_exit_two() {
    for args in [
        &["--nonsense"][..],
        &["frobnicate"],
        &["export"],
        &["simulate", "--calls", "many"],
        &["simulate", "--url", "http://127.0.0.1/v1/ingest"],
        &["simulate", "--basic", "nocolon"],
    ] {
        let outcome = command(&[], args).await;
        assert_eq!(outcome.code, Some(2), "{args:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?}");
    }
}

// 1.3: bad configuration is exit 78, with every error, each naming the variable, secrets masked.
#[tokio::test]
async fn bad_configuration_is_exit_78_with_every_error() {
    let env = [
        ("PORT", "eighty"),
        ("SUPPORT_EXOTEL", "perhaps"),
        ("ACK_INTERVAL", "often"),
        ("EXOTEL_ALLOWED_IPS", "300.1.1.1"),
        ("EXOTEL_BASIC_AUTH", "nocolonsecret"),
        ("JWT_PUBLIC_KEY", "notakeysecret"),
        ("PUBSUB_ADAPTER", "kafka"),
        ("AUDIO_STREAM_RETENTION_S", "5"),
        ("AUDIO_STREAM_MAXLEN", "5"),
        ("JOURNAL_MAX_BYTES", "17"),
        ("SSL_CERT_PATH", "no-cert.pem"),
        ("SSL_KEY_PATH", "no-key.pem"),
    ];
    for args in [&["serve"][..], &[], &["check"]] {
        let outcome = command(&env, args).await;
        assert_eq!(outcome.code, Some(78), "{args:?}: {outcome:?}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        for (name, _) in env {
            assert!(said.contains(name), "{args:?}: {name} in {said}");
        }
        for value in ["eighty", "perhaps", "often", "300.1.1.1", "kafka"] {
            assert!(said.contains(value), "{args:?}: {value} in {said}");
        }
        for secret in ["nocolonsecret", "notakeysecret"] {
            assert!(!said.contains(secret), "{args:?}: {secret} in {said}");
        }
    }
}

// 2 PUBSUB_ADAPTER: redis_streams without REDIS_URL is a configuration error.
#[tokio::test]
async fn redis_streams_without_a_url_is_an_error() {
    let outcome = command(&[("PUBSUB_ADAPTER", "redis_streams")], &["check"]).await;
    assert_eq!(outcome.code, Some(78), "{outcome:?}");
    assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains("REDIS_URL"));
}

// 1.1 check, 2.1: one NAME=value a line with its source, secrets masked; .env counts, the environment wins.
#[tokio::test]
async fn check_prints_the_effective_configuration() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let file = "MAX_CALL_S=77\nACK_INTERVAL=5\nEXOTEL_BASIC_AUTH=key1:s3cr3tvalue\n";
    std::fs::write(dir.path().join(".env"), file).expect("written");
    std::fs::write(dir.path().join("url"), "redis://:filesecret@127.0.0.1:1\n").expect("written");
    let env = [
        ("ACK_INTERVAL", "7"),
        ("SUPPORT_EXOTEL", "true"),
        ("REDIS_URL_FILE", "url"),
        ("MAX_CONNECTIONS", ""),
    ];
    let outcome = run(dir.path(), &env, &["check"], SHORT).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let value = |name: &str| {
        let line = outcome
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("{name}=")));
        let (_, rest) = line
            .unwrap_or_else(|| panic!("{name} in {}", outcome.stdout))
            .split_once('=')
            .expect("a value");
        let (value, source) = rest.split_once('#').expect("where it came from");
        assert!(!source.trim().is_empty(), "{name}");
        value.trim().to_owned()
    };
    assert_eq!(value("PORT"), "8443");
    assert_eq!(value("MAX_CALL_S"), "77");
    assert_eq!(value("ACK_INTERVAL"), "7");
    assert_eq!(value("SUPPORT_EXOTEL"), "true");
    assert_eq!(value("MAX_CONNECTIONS"), "10000");
    assert_eq!(value("EXOTEL_BASIC_AUTH"), "********");
    assert_eq!(value("REDIS_URL"), "********");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(
        !said.contains("s3cr3tvalue") && !said.contains("filesecret"),
        "{said}"
    );
}

// 2: unknown variables with our prefixes get a warning with the nearest known name.
#[tokio::test]
async fn a_misspelt_variable_is_warned_of() {
    let service = Setup::new()
        .env("EXOTEL_BASIC_AUHT", "key:misspelt-secret")
        .start()
        .await;
    let lines = service.lines();
    let warned = lines
        .iter()
        .any(|line| line.contains("EXOTEL_BASIC_AUHT") && line.contains("EXOTEL_BASIC_AUTH"));
    assert!(warned, "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("misspelt-secret")));
}

// 8.3: the ready line comes whatever RUST_LOG says, on standard error, with addr, url and adapter.
#[tokio::test]
async fn the_ready_line_always_comes() {
    for filter in ["error", "off", "info"] {
        let service = Setup::new().env("RUST_LOG", filter).start().await;
        let line = service.wait_for_log("listening").await;
        let text = |name: &str| {
            field(&line, name)
                .and_then(|value| value.as_str())
                .unwrap_or("")
                .to_owned()
        };
        assert!(
            text("addr").ends_with(&format!(":{}", service.port())),
            "{line}"
        );
        assert!(
            text("url").starts_with("ws://") && text("url").ends_with("/v1/ingest"),
            "{line}"
        );
        assert_eq!(text("adapter"), "journal", "{line}");
        assert_eq!(service.logged("listening").len(), 1);
    }
}

// 1.3: one half of a key pair, or a file that is not there, is a configuration error.
#[tokio::test]
async fn half_a_key_pair_is_an_error() {
    for env in [
        &[("SSL_CERT_PATH", "cert.pem")][..],
        &[("SSL_CERT_PATH", "none.pem"), ("SSL_KEY_PATH", "none.pem")],
    ] {
        let outcome = command(env, &["serve"]).await;
        assert_eq!(outcome.code, Some(78), "{env:?}: {outcome:?}");
        assert!(outcome.stderr.contains("SSL_"), "{outcome:?}");
    }
}

// 1.3: a certificate of Redis that cannot be read is a configuration error that names its variable; `check` finds it too.
#[tokio::test]
async fn a_missing_authority_is_an_error() {
    let env = [
        ("REDIS_URL", "rediss://127.0.0.1:1"),
        ("REDIS_TLS_CA", "none.pem"),
    ];
    for args in [["serve"], ["check"]] {
        let outcome = command(&env, &args).await;
        assert_eq!(outcome.code, Some(78), "{args:?}: {outcome:?}");
        assert!(outcome.stderr.contains("REDIS_TLS_CA"), "{outcome:?}");
    }
}

// 1.3: a port that is taken is exit 1, and the message names it.
#[tokio::test]
async fn a_taken_port_is_exit_one() {
    let service = Setup::new().start().await;
    let port = service.port().to_string();
    let outcome = command(&[("PORT", &port)], &["serve"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains(&port), "{outcome:?}");
    assert!(!outcome.stderr.contains("caused by"), "once is enough");
    // An address of nobody's here (RFC 5737): not the port is at fault.
    let env = [("HOST", "203.0.113.5"), ("PORT", "0")];
    let outcome = command(&env, &["serve"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("set HOST"), "{outcome:?}");
}

// 2 `.env.example` lists every setting: what `check` prints, no more and no less.
#[tokio::test]
async fn the_example_lists_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    let example = std::fs::read_to_string(path).expect(".env.example is there");
    let mut listed: Vec<String> = example
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.len() > 3 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    let outcome = command(&[], &["check"]).await;
    let mut printed: Vec<String> = outcome
        .stdout
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect();
    for names in [&mut listed, &mut printed] {
        names.retain(|name| !name.ends_with("_FILE"));
        names.sort();
        names.dedup();
    }
    assert_eq!(json!(printed), json!(listed));
}
