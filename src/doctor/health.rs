//! What the service says of itself at `/health`, and what of it keeps calls or audio away.
//!
//! Asking is [`Route::get`]'s; all of this is pure. Invariant: a server that is not ours is told apart, since everything
//! after it would puzzle.

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    http::{Answer, NoAnswer, Route},
    step::Step,
    url::Client,
};
use crate::simulate::summary::tidy;

/// The members of `/health` (6.1) that matter here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    service: String,
    status: String,
    pub(super) pubsub: bool,
    timestamp: String,
    version: String,
    pub(super) adapter: String,
    pub(super) exotel_auth: String,
    jwt: bool,
    active_calls: u64,
    problems: Vec<String>,
}

pub(super) async fn ask(route: &Route, client: Client) -> (Option<Health>, Step) {
    match route.get("/health").await {
        Ok(answer) => judge(&answer, client),
        Err(error) => (None, unanswered(&error)),
    }
}

impl Health {
    /// The service's clock when it answered.
    pub(super) fn epoch_ms(&self) -> Option<u64> {
        let moment = OffsetDateTime::parse(&self.timestamp, &Rfc3339).ok()?;
        u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
    }

    /// Whether this way of letting Exotel in is on: `ip`, `basic`, `token`, or `open`, `off`.
    pub(super) fn checks(&self, way: &str) -> bool {
        self.exotel_auth.split('+').any(|word| word == way)
    }
}

fn judge(answer: &Answer, client: Client) -> (Option<Health>, Step) {
    let health: Option<Health> = serde_json::from_slice(&answer.body).ok();
    match health.filter(|health| answer.status == 200 && health.service == SERVICE) {
        Some(health) => {
            let step = of_ours(&health, client);
            (Some(health), step)
        }
        None => (None, of_another(answer)),
    }
}

fn of_ours(health: &Health, client: Client) -> Step {
    let seen = format!(
        "{}, version {}, frames go to {}, exotel_auth {}, {} active calls",
        tidy(&health.status),
        tidy(&health.version),
        tidy(&health.adapter),
        tidy(&health.exotel_auth),
        health.active_calls
    );
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    let problems: Vec<String> = health
        .problems
        .iter()
        .map(|problem| tidy(problem))
        .collect();
    let problems = if problems.is_empty() {
        "see the service's log".to_owned()
    } else {
        problems.join("; ")
    };
    if !health.pubsub {
        faults.push((
            "frames do not reach the stream at present".to_owned(),
            problems,
        ));
    } else if !health.problems.is_empty() {
        warnings.push(("it names problems".to_owned(), problems));
    }
    match client {
        Client::Exotel if health.exotel_auth == "off" => faults.push((
            "it does not take Exotel's connections".to_owned(),
            "set SUPPORT_EXOTEL=true where the service runs".to_owned(),
        )),
        Client::Custom if !health.jwt => faults.push((
            "it knows no key for tokens".to_owned(),
            "set JWT_PUBLIC_KEY where the service runs".to_owned(),
        )),
        Client::Exotel if health.exotel_auth == "open" => warnings.push((
            "everybody may send audio".to_owned(),
            "set EXOTEL_URL_TOKENS, EXOTEL_BASIC_AUTH or EXOTEL_ALLOWED_IPS, so that nobody but Exotel does".to_owned(),
        )),
        _ => {}
    }
    Step::judged(NAME, &seen, faults, warnings)
}

fn of_another(answer: &Answer) -> Step {
    let seen = format!(
        "answered {}{}{}",
        answer.status,
        answer.server(),
        answer.sentence()
    );
    let fix = match answer.status {
        200 => {
            "something else than rtaa-ingest answers there: compare host and port with where it runs, and the proxy's routes"
        }
        301..=308 => {
            "the host redirects: use the scheme and host that it redirects to; Exotel follows none"
        }
        401 | 403 => {
            "something before the service asks who we are: let /v1/ingest through there, the service looks after itself"
        }
        404 => {
            "the host answers, but not with this service: see the proxy's routes, or whether the deployment is there"
        }
        502..=504 => {
            "the proxy does not reach the service: see whether that runs, and on which port; a free plan may have put it to sleep, so try again"
        }
        _ => "see the service's log, and the proxy's",
    };
    Step::failed(NAME, seen, fix)
}

pub(super) fn unanswered(error: &NoAnswer) -> Step {
    let fix = match error {
        NoAnswer::Silent => {
            "the service hangs, sleeps, or a proxy cannot reach it: Exotel waits 10 s; see its log, and start it anew"
        }
        NoAnswer::Closed => {
            "what listens there closes at once: a TLS port asked without TLS (use wss://), a container whose service does not run, or a proxy without a target"
        }
        NoAnswer::NotHttp(_) => {
            "another kind of server listens there: compare the port; a TLS port must be asked with wss://"
        }
        NoAnswer::Broken(_) => "see the network, and the service's log",
    };
    Step::failed(NAME, error.to_string(), fix)
}

const NAME: &str = "health";
/// What the service calls itself in 6.1.
const SERVICE: &str = "ingest";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn ours(more: &str) -> Step {
        let body = format!(
            r#"{{"status":"healthy","service":"ingest","pubsub":true,"version":"1","adapter":"redis_streams","exotel_auth":"token","jwt":true,"active_calls":2{more}}}"#
        );
        judge(&answer(200, &body), Client::Exotel).1
    }

    #[test]
    fn ours_is_good_unless_it_says_otherwise() {
        let step = ours("");
        assert!(step.status == Status::Ok && !step.is_warning(), "{step:?}");
        assert!(step.detail.contains("2 active calls"), "{step:?}");
        let step = ours(r#","problems":["mend this"]"#);
        assert!(
            step.is_warning() && step.fix.contains("mend this"),
            "{step:?}"
        );
    }

    #[test]
    fn frames_that_do_not_arrive_are_a_failure() {
        let body = r#"{"status":"degraded","service":"ingest","pubsub":false,"exotel_auth":"off","problems":["start Redis"]}"#;
        let (_, step) = judge(&answer(200, body), Client::Exotel);
        assert_eq!(step.status, Status::Failed);
        assert!(
            step.fix.contains("start Redis") && step.fix.contains("SUPPORT_EXOTEL"),
            "{step:?}"
        );
        let (_, step) = judge(&answer(200, body), Client::Custom);
        assert!(step.fix.contains("JWT_PUBLIC_KEY"), "{step:?}");
    }

    #[test]
    fn strangers_are_told_apart() {
        for (status, body, word) in [
            (200, "hello", "something else"),
            (200, r#"{"service":"web"}"#, "something else"),
            (301, "", "redirects"),
            (404, "", "routes"),
            (502, "<html>", "proxy"),
        ] {
            let (health, step) = judge(&answer(status, body), Client::Exotel);
            assert!(health.is_none() && step.fix.contains(word), "{step:?}");
        }
        for error in [NoAnswer::Silent, NoAnswer::Closed] {
            assert_eq!(unanswered(&error).status, Status::Failed);
        }
    }

    #[test]
    fn its_clock_is_read() {
        let health = Health {
            timestamp: "2025-11-07T07:20:00.123Z".into(),
            exotel_auth: "ip+token".into(),
            ..Health::default()
        };
        assert_eq!(health.epoch_ms(), Some(1_762_500_000_123));
        assert!(health.checks("ip") && health.checks("token") && !health.checks("basic"));
        assert_eq!(Health::default().epoch_ms(), None);
    }
}
