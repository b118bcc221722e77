//! What one step of an examination came to, and the report that all of them make.
//!
//! Invariant: nothing in a report holds a secret that the examination was given, whoever repeated it: `Secrets` takes
//! them out of every text.

use serde::Serialize;

use crate::secret::Secret;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Failed,
    Skipped,
}

/// One link of the chain: what was seen of it, and what to do next. One that is `Ok` and has something to do is a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub status: Status,
    pub detail: String,
    pub fix: String,
}

/// All steps in the order of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub ok: bool,
    pub steps: Vec<Step>,
}

/// What must not come out.
#[derive(Debug, Default, Clone)]
pub(super) struct Secrets(Vec<Secret>);

impl Step {
    pub(super) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, detail.into(), String::new())
    }

    /// It works, and something about it should be known or changed.
    pub(super) fn warning(
        name: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(name, Status::Ok, detail.into(), fix.into())
    }

    pub(super) fn failed(
        name: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(name, Status::Failed, detail.into(), fix.into())
    }

    pub(super) fn skipped(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Skipped, detail.into(), String::new())
    }

    /// `faults` fail it, else `warnings` warn, each with its advice; else it is as `seen`.
    pub(super) fn judged(
        name: &'static str,
        seen: &str,
        faults: Vec<(String, String)>,
        warnings: Vec<(String, String)>,
    ) -> Self {
        let status = if faults.is_empty() {
            Status::Ok
        } else {
            Status::Failed
        };
        let (mut details, fixes): (Vec<String>, Vec<String>) =
            faults.into_iter().chain(warnings).unzip();
        if !seen.is_empty() {
            details.insert(0, seen.to_owned());
        }
        Self::new(name, status, details.join("; "), fixes.join("; "))
    }

    fn new(name: &'static str, status: Status, detail: String, fix: String) -> Self {
        Self {
            name,
            status,
            detail,
            fix,
        }
    }

    pub fn is_warning(&self) -> bool {
        self.status == Status::Ok && !self.fix.is_empty()
    }
}

impl Report {
    pub(super) fn new(steps: Vec<Step>, secrets: &Secrets) -> Self {
        let steps: Vec<Step> = steps
            .into_iter()
            .map(|step| Step {
                detail: secrets.hide(&step.detail),
                fix: secrets.hide(&step.fix),
                ..step
            })
            .collect();
        Self {
            ok: steps.iter().all(|step| step.status != Status::Failed),
            steps,
        }
    }
}

impl Secrets {
    /// Shorter ones stand in half of all words, and nobody could read the report without them.
    pub(super) fn add(&mut self, secret: &str) {
        if secret.len() >= SECRET_BYTES_MIN {
            self.0.push(Secret::new(secret));
            // A long one may hold a shorter one.
            self.0
                .sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        }
    }

    pub(super) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.expose(), "********")
        })
    }
}

const SECRET_BYTES_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_step_is_enough() {
        let report = |steps| Report::new(steps, &Secrets::default()).ok;
        let warning = Step::warning("a", "x", "do y");
        assert!(warning.is_warning());
        assert!(report(vec![warning.clone(), Step::skipped("b", "z")]));
        assert!(!report(vec![warning, Step::failed("b", "z", "do w")]));
    }

    #[test]
    fn faults_outweigh_warnings_and_both_are_told() {
        let pair = |a: &str, b: &str| vec![(a.to_owned(), b.to_owned())];
        let both = Step::judged("x", "seen", pair("bad", "mend"), pair("odd", "look"));
        assert_eq!(both.status, Status::Failed);
        assert_eq!(
            (both.detail.as_str(), both.fix.as_str()),
            ("seen; bad; odd", "mend; look")
        );
        assert!(Step::judged("x", "seen", Vec::new(), pair("odd", "look")).is_warning());
    }

    #[test]
    fn secrets_are_taken_out_whoever_repeats_them() {
        let mut secrets = Secrets::default();
        for secret in ["hunter2", "KEY:hunter2", ""] {
            secrets.add(secret);
        }
        let step = Step::failed("x", "no KEY:hunter2 here", "try not hunter2");
        let report = Report::new(vec![step], &secrets);
        assert_eq!(report.steps[0].detail, "no ******** here");
        assert_eq!(report.steps[0].fix, "try not ********");
    }

    #[test]
    fn json_has_the_words_of_the_contract() {
        let report = Report::new(vec![Step::ok("url", "fine")], &Secrets::default());
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"ok":true,"steps":[{"name":"url","status":"ok","detail":"fine","fix":""}]}"#
        );
    }
}
