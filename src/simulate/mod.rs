//! Plays calls into a server as Exotel's client does, or as a custom client (contract 3.8), and says how it went.
//!
//! The command line is in `cli/simulate.rs`; the demo calls [`play`] in its own process. In here: `target` takes the URL apart,
//! `connect` opens connections, `call` is one call, `wire` its messages, `sound` its audio, `progress` and `summary` the numbers.
//! Invariant: a call costs one task and a few kilobytes, since all calls share one audio and encode it frame by frame.

use std::{collections::BTreeMap, io, num::NonZeroU64, sync::Arc, time::Duration};

use clap::ValueEnum;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_tungstenite::tungstenite::http;

use self::{
    call::{CallError, Outcome},
    connect::Door,
    progress::Progress,
    sound::{Encoding, Sound},
    summary::Summary,
    target::Target,
    wire::Names,
};
use crate::secret::Secret;

mod call;
pub(crate) mod connect;
pub mod progress;
pub mod sound;
pub mod summary;
pub mod target;
pub mod wire;

#[cfg(test)]
mod acceptor;
#[cfg(test)]
mod tests;

/// How the calls are to be played.
#[derive(Debug, Clone)]
pub struct Settings {
    pub target: Target,
    pub calls: usize,
    pub duration: Duration,
    pub frame_ms: u32,
    pub dialect: Dialect,
    pub encoding: Encoding,
    pub sound: Sound,
    /// Taken before those in the URL.
    pub credentials: Option<Credentials>,
    /// 1 is real time.
    pub speed: f64,
    pub tenant: Option<String>,
    /// The call's name, or what several calls' names begin with: `NAME-1`, `NAME-2`. Random where there is none.
    pub name: Option<String>,
}

impl Settings {
    /// How many frames one call sends: the last one may reach beyond the duration.
    pub fn frames(&self) -> u64 {
        let frame = u128::from(self.frame_ms.max(1));
        let frames = self.duration.as_millis().div_ceil(frame);
        u64::try_from(frames).unwrap_or(u64::MAX).max(1)
    }
}

/// Whose words a call uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// Exotel's Voicebot and Stream applets
    Exotel,
    /// JSON events of a custom client
    Simple,
    /// a JSON start, then raw audio in binary messages
    Binary,
}

/// What a call shows at the door.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// `KEY:TOKEN`
    Basic(Secret),
    /// A JSON Web Token. With it the server takes any dialect as a custom client's, and answers.
    Bearer(Secret),
}

/// Why no call could be played at all.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    #[error("the host in the URL could not be looked up: check its spelling and the network")]
    Lookup(#[source] io::Error),
    #[error("the host in the URL is not one that a certificate could name")]
    ServerName(#[source] rustls::pki_types::InvalidDnsNameError),
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
    #[error("the URL cannot be sent in a request")]
    Request(#[source] http::Error),
    #[error("the credentials contain what no header can carry: use printable ASCII")]
    Credentials,
    #[error(
        "Exotel takes at most 3 parameters with 256 characters in all after the URL's question mark: shorten it"
    )]
    Parameters,
}

/// Plays all calls at the same time and waits for the last one.
///
/// Dropping the future ends the calls where they are.
pub async fn play(settings: Settings, progress: Arc<Progress>) -> Result<Summary, PlayError> {
    let began = Instant::now();
    let calls = settings.calls;
    let plan = Arc::new(Plan::new(settings, Arc::clone(&progress), began).await?);
    let mut running = JoinSet::new();
    for number in 0..calls {
        let plan = Arc::clone(&plan);
        running.spawn(async move { call::play(&plan, number).await });
    }
    let mut summary = Summary::default();
    while let Some(ended) = running.join_next().await {
        summary.add(ended.unwrap_or_else(|_panic| Outcome::without_start(CallError::Panicked)));
    }
    summary.wall = began.elapsed();
    summary.late_p99 = progress.late_p99();
    Ok(summary)
}

/// What all calls of a run share.
struct Plan {
    door: Door,
    /// Keeps a run of thousands from connecting all at once, which no telephone network does either.
    connecting: Semaphore,
    began: Instant,
    calls: NonZeroU64,
    frames: u64,
    frame_ms: u32,
    interval: Duration,
    dialect: Dialect,
    encoding: Encoding,
    sound: Sound,
    /// Whether the server will answer, which it does to custom clients only (contract 3.8).
    answered: bool,
    tenant: Option<String>,
    parameters: BTreeMap<String, String>,
    name: Option<String>,
    progress: Arc<Progress>,
}

impl Plan {
    async fn new(
        settings: Settings,
        progress: Arc<Progress>,
        began: Instant,
    ) -> Result<Self, PlayError> {
        let frames = settings.frames();
        let target = settings.target;
        let in_url = target.userinfo.clone().map(Credentials::Basic);
        let credentials = settings.credentials.or(in_url);
        let (path, parameters, user_agent) = match settings.dialect {
            Dialect::Exotel => (target.path.clone(), handed_over(&target)?, EXOTEL_AGENT),
            Dialect::Simple | Dialect::Binary => {
                let query = target.query.as_ref().map(|query| format!("?{query}"));
                let path = format!("{}{}", target.path, query.unwrap_or_default());
                (path, BTreeMap::new(), OWN_AGENT)
            }
        };
        Ok(Self {
            door: Door::find(&target, &path, user_agent, credentials.as_ref()).await?,
            connecting: Semaphore::new(CONNECTING_MAX),
            began,
            calls: NonZeroU64::new(settings.calls as u64).unwrap_or(NonZeroU64::MIN),
            frames,
            frame_ms: settings.frame_ms,
            interval: Duration::from_millis(u64::from(settings.frame_ms)).div_f64(settings.speed),
            dialect: settings.dialect,
            encoding: settings.encoding,
            sound: settings.sound,
            answered: matches!(credentials, Some(Credentials::Bearer(_))),
            tenant: settings.tenant,
            parameters,
            name: settings.name,
            progress,
        })
    }

    /// When frame `index` leaves, counted from the first.
    fn offset(&self, index: u64) -> Duration {
        let nanos = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos.saturating_mul(index))
    }

    /// The next time from `now` on in this call's own share of the interval, so that the calls' frames are spread evenly
    /// however their connections came to be.
    fn first_frame(&self, number: usize, now: Instant) -> Instant {
        let interval = u64::try_from(self.interval.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let phase =
            u64::try_from(u128::from(interval) * number as u128 / u128::from(self.calls.get()))
                .unwrap_or(0);
        let gone = now.saturating_duration_since(self.began).as_nanos();
        let gone = u64::try_from(gone)
            .unwrap_or(u64::MAX)
            .saturating_sub(phase);
        let turns = gone.div_ceil(interval);
        self.began + Duration::from_nanos(phase.saturating_add(turns.saturating_mul(interval)))
    }

    fn names(&self, number: usize) -> Names {
        let count = number + 1;
        Names {
            stream_sid: wire::sid(),
            call_sid: match &self.name {
                None => wire::sid(),
                Some(name) if self.calls == NonZeroU64::MIN => name.clone(),
                Some(name) => format!("{name}-{count}"),
            },
            account_sid: self.tenant.clone().unwrap_or_else(|| ACCOUNT.to_owned()),
            from: format!("0999{count:07}"),
            to: EXOPHONE.to_owned(),
        }
    }
}

/// Exotel removes the query of the URL that it was given and hands it over in the start.
pub(crate) fn handed_over(target: &Target) -> Result<BTreeMap<String, String>, PlayError> {
    let parameters = target.parameters();
    let length = target.query.as_ref().map_or(0, String::len);
    if parameters.len() > 3 || length > 256 {
        return Err(PlayError::Parameters);
    }
    Ok(parameters.into_iter().collect())
}

/// What Exotel's client calls itself.
pub(crate) const EXOTEL_AGENT: &str = "Go-http-client/1.1";
const OWN_AGENT: &str = concat!("rtaa-ingest-simulate/", env!("CARGO_PKG_VERSION"));

/// Letters and a digit, as Exotel's account names are.
const ACCOUNT: &str = "simulated1";
const EXOPHONE: &str = "04440000001";

/// Connections under way at a time: fewer than a listener's usual backlog, so that a full one is not mistaken for a fault.
const CONNECTING_MAX: usize = 200;
