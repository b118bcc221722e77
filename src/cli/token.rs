//! `token`: a signed JWT to try the service with, and `token keygen`: a key pair to sign it with (1.1).
//!
//! The signing itself is `auth::signing`. Invariants: a token is all that goes to standard output, so that `$(…)` works; a
//! private key is readable by its owner only and never overwrites anything.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use crate::{
    auth::{claims, keys::Algorithm, signing::SigningKey},
    duration,
};

/// Make a signed test JWT, or a key pair for one
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    token: Token,
}

/// What the token shall say, and who signs it.
#[derive(Debug, clap::Args)]
struct Token {
    /// PEM file with the private key: RSA, P-256 or Ed25519; its type fixes the algorithm
    #[arg(long, value_name = "FILE", required = true)]
    key: Option<PathBuf>,
    /// Bind the token to this tenant (claim `tenant_id`)
    #[arg(long, value_name = "T", value_parser = id)]
    tenant: Option<String>,
    /// Bind the token to this call (claim `interaction_id`)
    #[arg(long, value_name = "ID", value_parser = id)]
    call: Option<String>,
    /// How long the token holds: 500ms, 10s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration::parse)]
    ttl: Duration,
    /// Claim `iss`, where the server sets `JWT_ISSUER`
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Claim `aud`, where the server sets `JWT_AUDIENCE`
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write private.pem and public.pem into a directory
    Keygen {
        /// The directory; made if it is missing, and nothing in it is overwritten
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The algorithm that tokens will be signed with
        #[arg(long, value_name = "ALG", default_value = "ES256", ignore_case = true)]
        alg: Alg,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Alg {
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "EdDSA")]
    EdDsa,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = match args.command {
        Some(Command::Keygen { out, alg }) => keygen(&out, alg.into())?,
        None => sign(&args.token, now_epoch_s()?)? + "\n",
    };
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn sign(token: &Token, now_epoch_s: u64) -> anyhow::Result<String> {
    let path = token.key.as_deref().context("--key FILE is missing")?;
    let pem =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = SigningKey::from_pem(&pem).with_context(|| path.display().to_string())?;
    let expires_s = now_epoch_s.saturating_add(token.ttl.as_secs());
    let mut said = Map::new();
    said.insert("iat".to_owned(), now_epoch_s.into());
    said.insert("exp".to_owned(), expires_s.into());
    for (claim, value) in [
        ("tenant_id", &token.tenant),
        ("interaction_id", &token.call),
        ("iss", &token.issuer),
        ("aud", &token.audience),
    ] {
        if let Some(value) = value {
            said.insert(claim.to_owned(), value.as_str().into());
        }
    }
    Ok(key.sign(&Value::Object(said))?)
}

/// Returns what to do next.
fn keygen(dir: &Path, algorithm: Algorithm) -> anyhow::Result<String> {
    let (private, public) = (dir.join("private.pem"), dir.join("public.pem"));
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for path in [&private, &public] {
        // `create_new` below refuses too; asking first avoids half a pair.
        if path.symlink_metadata().is_ok() {
            bail!(
                "{} exists: choose another --out, or remove it",
                path.display()
            );
        }
    }
    let key = SigningKey::generate(algorithm)?;
    write_new(&private, PRIVATE_MODE, key.private_pem()?.expose())?;
    write_new(&public, PUBLIC_MODE, &key.public_pem()?)?;
    Ok(format!(
        "{name} key pair written.\n\
         \n\
         1. Give the server the public key:   JWT_PUBLIC_KEY_FILE={public}\n\
         2. Make a token to try it with:      rtaa-ingest token --key {private}\n\
         3. Keep {private} with those who sign tokens; the server does not need it.\n",
        name = algorithm.name(),
        public = public.display(),
        private = private.display(),
    ))
}

fn write_new(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn id(text: &str) -> anyhow::Result<String> {
    ensure!(
        claims::is_id(text),
        "1 to 512 bytes without control characters are wanted"
    );
    Ok(text.to_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one moment that this short-lived command needs"
)]
fn now_epoch_s() -> anyhow::Result<u64> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(since_epoch
        .context("the system's clock is before 1970: set it")?
        .as_secs())
}

impl From<Alg> for Algorithm {
    fn from(alg: Alg) -> Self {
        match alg {
            Alg::Rs256 => Self::Rs256,
            Alg::Es256 => Self::Es256,
            Alg::EdDsa => Self::EdDsa,
        }
    }
}

const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser as _;

    use super::*;
    use crate::{
        auth::{self, Verifier},
        secret::Secret,
    };

    const NOW: u64 = 1_800_000_000;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let line = Line::try_parse_from(std::iter::once(&"token").chain(words))?;
        Ok(line.args)
    }

    fn verifier(public: &Path, issuer: Option<&str>, audience: Option<&str>) -> Verifier {
        Verifier::new(&auth::Settings {
            public_keys: Some(Secret::new(fs::read_to_string(public).unwrap())),
            jwks_url: None,
            issuer: issuer.map(str::to_owned),
            audience: audience.map(str::to_owned),
            leeway: Duration::ZERO,
        })
        .unwrap()
    }

    #[test]
    fn a_pair_signs_tokens_that_hold_for_their_time() {
        for alg in [Alg::Rs256, Alg::Es256, Alg::EdDsa] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().join("new/keys");
            let next = keygen(&dir, alg.into()).unwrap();
            let (private, public) = (dir.join("private.pem"), dir.join("public.pem"));
            assert!(next.contains(&format!("JWT_PUBLIC_KEY_FILE={}", public.display())));
            let mode = fs::metadata(&private).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);

            let key = private.to_str().unwrap();
            let words = [
                "--key",
                key,
                "--tenant",
                "t",
                "--call",
                "c",
                "--ttl",
                "90",
                "--issuer",
                "them",
                "--audience",
                "us",
            ];
            let token = sign(&parse(&words).unwrap().token, NOW).unwrap();
            let strict = verifier(&public, Some("them"), Some("us"));
            let bound = strict.verify(&token, NOW + 89).unwrap();
            assert_eq!(
                (bound.tenant_id.as_deref(), bound.interaction_id.as_deref()),
                (Some("t"), Some("c"))
            );
            assert_eq!(
                strict.verify(&token, NOW + 90),
                Err(auth::TokenError::Expired)
            );

            let plain = sign(&parse(&["--key", key]).unwrap().token, NOW).unwrap();
            assert_eq!(
                strict.verify(&plain, NOW),
                Err(auth::TokenError::WrongIssuer)
            );
            let bound = verifier(&public, None, None)
                .verify(&plain, NOW + 3599)
                .unwrap();
            assert_eq!(bound, crate::admission::Claims::default());
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        for existing in ["private.pem", "public.pem"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(existing), "mine").unwrap();
            let refused = keygen(dir.path(), Algorithm::EdDsa).unwrap_err();
            assert!(refused.to_string().contains(existing), "{refused}");
            assert_eq!(
                fs::read_to_string(dir.path().join(existing)).unwrap(),
                "mine"
            );
            assert_eq!(
                fs::read_dir(dir.path()).unwrap().count(),
                1,
                "and no half pair is left"
            );
        }
    }

    #[test]
    fn a_key_file_that_is_none_is_named_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let key = path.to_str().unwrap();
        let args = parse(&["--key", key]).unwrap().token;
        assert!(format!("{:#}", sign(&args, NOW).unwrap_err()).contains(key));
        fs::write(&path, "hunter2").unwrap();
        let said = format!("{:#}", sign(&args, NOW).unwrap_err());
        assert!(said.contains(key) && said.contains("no private key") && !said.contains("hunter2"));
    }

    #[test]
    fn usage_is_checked() {
        for words in [
            &[][..],
            &["--tenant", "t"],
            &["--key", "k", "--tenant", ""],
            &["--key", "k", "--call", "a\nb"],
            &["--key", "k", "--ttl", "soon"],
            &["keygen"],
            &["keygen", "--out", "d", "--alg", "HS256"],
            &["--key", "k", "keygen", "--out", "d"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert!(
            parse(&["keygen", "--out", "d", "--alg", "eddsa"])
                .unwrap()
                .command
                .is_some()
        );
    }
}
