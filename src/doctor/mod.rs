//! Finds out why Exotel, or a custom client, does not get through: walks the chain that a call walks, and says of each
//! link what was seen and what to do.
//!
//! The command line is in `cli/doctor.rs`. In here, in the order of the chain: `url`, `network` (names and TCP), `tls` and
//! `certificate`, `http`, `health`, `upgrade`, `call`, `forwarded` and `clock`, `redis/`, and `outside`, which is what
//! cannot be seen from here. Invariants: a broken link does not end the walk, what hangs on it is skipped; no secret is sent
//! to a server whose certificate does not hold, and none is in the report; every wait has the limit that was asked for.

mod call;
mod certificate;
mod clock;
mod forwarded;
mod health;
mod http;
mod network;
mod outside;
mod redis;
pub mod settings;
pub mod step;
pub mod tls;
mod upgrade;
mod url;

use tokio::{net::TcpStream, time::timeout};
use uuid::Uuid;

use self::{
    call::{Bound, CALL_PREFIX, Plan, Played},
    health::Health,
    http::Route,
    redis::{Store, arrival::Sent},
    settings::Settings,
    step::{Report, Secrets, Status, Step},
    upgrade::{Opened, Outcome, Shown},
    url::Client,
};
use crate::{secret::Secret, simulate, simulate::target::Target};

/// Walks the chain.
pub async fn examine(settings: &Settings) -> Report {
    let client = match settings.token {
        Some(_) => Client::Custom,
        None => Client::Exotel,
    };
    let (target, step) = url::examine(settings.url.expose(), client);
    let mut walk = Walk {
        settings,
        client,
        secrets: settings.secrets(target.as_ref()),
        steps: Vec::new(),
    };
    walk.steps.push(step);
    let route = if let Some(target) = &target {
        walk.reach(target).await
    } else {
        walk.skip(&["dns", "tcp", "tls"], "the URL cannot be used");
        None
    };
    walk.along(route.as_ref()).await;
    if walk.client == Client::Exotel {
        walk.outside();
    }
    Report::new(walk.steps, &walk.secrets)
}

/// The examination under way.
struct Walk<'a> {
    settings: &'a Settings,
    client: Client,
    secrets: Secrets,
    steps: Vec<Step>,
}

impl Walk<'_> {
    fn skip(&mut self, names: &[&'static str], why: &str) {
        self.steps
            .extend(names.iter().map(|name| Step::skipped(name, why)));
    }

    /// From the name to a connection.
    async fn reach(&mut self, target: &Target) -> Option<Route> {
        let limit = self.settings.limit;
        let found = network::look_up(target, limit).await;
        let dns = network::dns(&target.host, &found);
        let is_found = dns.status != Status::Failed;
        self.steps.push(dns);
        let Some(addresses) = found.ok().filter(|_| is_found) else {
            self.skip(&["tcp", "tls"], "there is no address");
            return None;
        };
        let dialled = network::dial(&addresses, limit).await;
        self.steps.push(network::tcp(&dialled));
        let Some(open) = dialled.iter().find(|one| one.outcome.is_ok()) else {
            self.skip(&["tls"], "there is no connection");
            return None;
        };
        let mut route = Route {
            target: target.clone(),
            address: open.address,
            tls: None,
            is_trusted: true,
            secrets: self.secrets.clone(),
            limit,
        };
        if !target.tls {
            self.skip(&["tls"], "the URL begins with ws://");
            return Some(route);
        }
        match self.shake_hands(&route).await {
            Ok(handshake) => {
                self.steps.push(handshake.step);
                route.tls = Some((handshake.connector, handshake.name));
                route.is_trusted = handshake.holds;
                Some(route)
            }
            Err(step) => {
                self.steps.push(step);
                None
            }
        }
    }

    async fn shake_hands(&self, route: &Route) -> Result<tls::Handshake, Step> {
        let limit = self.settings.limit;
        let connecting = timeout(limit, TcpStream::connect(route.address)).await;
        let tcp = connecting
            .unwrap_or_else(|_elapsed| Err(network::timed_out()))
            .map_err(|error| {
                Step::failed(
                    "tls",
                    error.to_string(),
                    "try again: the address answered a moment ago",
                )
            })?;
        let for_exotel = self.client == Client::Exotel;
        tls::examine(
            tcp,
            &route.target.host,
            &self.settings.authorities,
            for_exotel,
            limit,
        )
        .await
    }

    /// From the connection to the stream.
    async fn along(&mut self, route: Option<&Route>) {
        let mut store = self.store().await;
        let mut readings = Vec::new();
        let began_ms = crate::clock::epoch_ms();
        let from = match &mut store {
            Ok(store) => store.clock().await,
            Err(_) => None,
        };
        let mut sent = None;
        if let Some(route) = route {
            let before_ms = crate::clock::epoch_ms();
            let (health, step) = health::ask(route, self.client).await;
            self.steps.push(step);
            readings.extend(health.as_ref().and_then(|health| {
                Some(clock::Reading {
                    who: "the service",
                    theirs_ms: health.epoch_ms()?,
                    before_ms,
                    after_ms: crate::clock::epoch_ms(),
                })
            }));
            sent = self.call(route, health.as_ref()).await;
        } else {
            self.skip(&["health", "stranger", "upgrade"], NO_CONNECTION);
            self.skip(
                &["start", "audio", "close", "client-address"],
                NO_CONNECTION,
            );
        }
        readings.extend(from);
        self.steps.push(clock::judge(&readings));
        let from_ms = from.map_or(began_ms.saturating_sub(SLACK_MS), |reading| {
            reading.theirs_ms
        });
        let sent = sent.map(|(call, frames)| Sent {
            call,
            frames,
            from_ms,
        });
        self.stream(store, sent.as_ref()).await;
    }

    async fn store(&self) -> Result<Store, Step> {
        match &self.settings.publishing {
            Ok(publishing) => redis::open(publishing, self.settings.limit).await,
            Err(why) => Err(Step::skipped("redis", why.as_str())),
        }
    }

    /// The upgrade and the call behind it: its name, and how many frames it brought.
    async fn call(&mut self, route: &Route, health: Option<&Health>) -> Option<(String, u64)> {
        let target = &route.target;
        let shown = self.settings.shown(target);
        let is_secret = !matches!(shown, Shown::Nothing)
            || !url::secret_segments(&target.path).is_empty()
            || target.query.is_some();
        if is_secret && !route.is_trusted {
            let why = "credentials are not sent to a server whose certificate does not hold";
            self.skip(
                &[
                    "stranger",
                    "upgrade",
                    "start",
                    "audio",
                    "close",
                    "client-address",
                ],
                why,
            );
            return None;
        }
        // Exotel keeps the query to itself.
        let path = match (self.client, &target.query) {
            (Client::Custom, Some(query)) => format!("{}?{query}", target.path),
            _ => target.path.clone(),
        };
        if let Shown::Nothing = shown {
            self.skip(&["stranger"], "there are no credentials to leave away");
        } else {
            let outcome = upgrade::ask(route, &path, &Shown::Nothing).await;
            self.steps.push(upgrade::stranger(&outcome, self.client));
        }
        let outcome = upgrade::ask(route, &path, &shown).await;
        let mut step = upgrade::judge(&outcome, self.client);
        let Outcome::Open(opened) = outcome else {
            self.steps.push(step);
            self.skip(
                &["start", "audio", "close", "client-address"],
                "there is no WebSocket",
            );
            return None;
        };
        let has_basic = matches!(shown, Shown::Basic(_));
        let has_token = url::url_token(&target.path).is_some();
        if let Some(health) = health
            && self.client == Client::Exotel
            && let Some((seen, fix)) = upgrade::credentials_fit(has_basic, has_token, health)
        {
            step.detail = format!("{}; {seen}", step.detail);
            step.fix = fix;
        }
        self.steps.push(step);
        let local = opened.local;
        let played = self.play(*opened, target).await;
        self.steps.push(forwarded::ask(route, local).await);
        played
    }

    async fn play(&mut self, opened: Opened, target: &Target) -> Option<(String, u64)> {
        let token = self.settings.token.as_ref().map_or("", Secret::expose);
        let bound = Bound::read(token);
        let id = Uuid::new_v4().simple().to_string();
        let short: String = id.chars().take(ID_CHARS).collect();
        let plan = Plan {
            client: self.client,
            call: bound
                .interaction_id
                .unwrap_or_else(|| format!("{CALL_PREFIX}{short}")),
            tenant: bound.tenant_id,
            rate: target.sample_rate().unwrap_or(RATE),
            parameters: simulate::handed_over(target).unwrap_or_default(),
            limit: self.settings.limit,
        };
        let Played { frames, steps } = call::play(opened.socket, &plan).await;
        self.steps.extend(steps);
        (frames > 0).then_some((plan.call, frames))
    }

    /// What is in Redis of it.
    async fn stream(&mut self, store: Result<Store, Step>, sent: Option<&Sent>) {
        let mut store = match store {
            Ok(store) => store,
            Err(step) => {
                let why = "there is no Redis to look into";
                self.steps.push(step);
                self.skip(
                    &[
                        "eviction",
                        "memory",
                        "persistence",
                        "frames",
                        "call_end",
                        "groups",
                    ],
                    why,
                );
                return;
            }
        };
        self.steps.extend(store.fitness(self.settings.calls).await);
        match sent {
            Some(sent) => self.steps.extend(store.arrival(sent).await),
            None => self.skip(&["frames", "call_end"], "no audio was sent"),
        }
        self.steps.push(store.groups().await);
    }

    /// Once our side is proven good, it can only be one of these.
    fn outside(&mut self) {
        if self.steps.iter().all(|step| step.status != Status::Failed) {
            self.steps.extend(outside::causes());
        }
    }
}

const NO_CONNECTION: &str = "there is no connection";
/// Where Redis does not tell its time, ours may be ahead of it by so much.
const SLACK_MS: u64 = 10_000;
const RATE: u32 = 8_000;
const ID_CHARS: usize = 12;
