//! `check`: the configuration in effect, or everything that is wrong with it.
//!
//! What is right and wrong is found out in `config/`; this only prints. Invariant: standard output is a `.env` file.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    config::{Config, vars},
    prepared::Prepared,
};

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: Args) -> anyhow::Result<ExitCode> {
    let prepared = Prepared::load()?;
    let config = prepared.config();
    print_warnings(config, &mut io::stderr().lock())?;
    match print_lines(config, &mut io::stdout().lock()) {
        // Whoever reads us, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        outcome => outcome?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_warnings(config: &Config, out: &mut impl Write) -> io::Result<()> {
    for warning in &config.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for name in config.pending_set() {
        let missing = vars::find(name)
            .and_then(|var| var.pending)
            .unwrap_or_default();
        writeln!(
            out,
            "warning: {name} is read and checked but has no effect yet (not in this release: {missing})"
        )?;
    }
    out.flush()
}

fn print_lines(config: &Config, out: &mut impl Write) -> io::Result<()> {
    for line in config.lines() {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    #[test]
    fn prints_every_setting_once_and_no_secret() {
        let config = with(&[
            ("PORT", "1"),
            ("SUPPORT_EXOTEL", "yes"),
            ("AUDIO_FRAME_MS", "100"),
            ("OPS_TOKEN", "hunter2"),
        ])
        .unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print_lines(&config, &mut out).unwrap();
        print_warnings(&config, &mut err).unwrap();
        let (out, err) = (
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        );
        assert!(
            out.starts_with("PORT=1 # environment\nHOST=:: # default\n"),
            "{out}"
        );
        assert_eq!(out.lines().count(), vars::all().count());
        assert!(out.ends_with("OPS_TOKEN=******** # environment\n"), "{out}");
        assert_eq!(
            err,
            "warning: AUDIO_FRAME_MS is read and checked but has no effect yet \
             (not in this release: regrouping)\n"
        );
    }
}
