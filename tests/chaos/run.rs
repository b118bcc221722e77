//! One run: a world is put together, calls are played while it falls apart, everything is healed, and the
//! oracle judges what came of it. What a run does is `plan`'s, how many there are is `series`'s.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rtaa_ingest::clock;
use tempfile::TempDir;
use tokio::{
    sync::Mutex,
    task::{JoinSet, LocalSet},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client,
    disk::Disk,
    exotel,
    fault::{Fault, Kind},
    host::Host,
    inject::World,
    keys,
    ledger::Ledger,
    line::Line,
    oracle::{self, Evidence},
    plan::{CallPlan, Plan},
    proxy::Proxy,
    published::{self, Published},
    service::Service,
    store::{PASSWORD, Store},
    wait::within,
};

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) complaints: Vec<String>,
    /// Each fault, and whether it could be carried out.
    pub(crate) faults: Vec<(Fault, bool)>,
    pub(crate) calls: usize,
    pub(crate) connections: usize,
    pub(crate) sessions: usize,
    pub(crate) frames: u64,
    pub(crate) gaps: usize,
    pub(crate) took: Duration,
    /// From the end of the last fault until all was published.
    pub(crate) caught_up: Duration,
}

/// Everything of one run while it goes on.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) world: Arc<World>,
    pub(crate) line: Line,
    /// After everything is healed: how long until all must have come through.
    pub(crate) patience: Duration,
    callers: JoinSet<Ledger>,
    began: Instant,
}

impl Run {
    /// Starts Redis, the proxy and the service, and lets the calls begin.
    pub(crate) async fn begin(plan: Plan, dir: &Path) -> Self {
        let began = Instant::now();
        let store = Store::start(dir, plan.persistent).await;
        let proxy = Proxy::start(&store.socket()).await;
        let disk = (plan.has(Kind::SlowDisk) || plan.has(Kind::FullDisk)).then(|| Disk::new(dir));
        let mut env = vec![
            ("REDIS_URL".to_owned(), proxy.url(PASSWORD)),
            ("JWT_PUBLIC_KEY".to_owned(), keys::trusted().public.clone()),
            ("SUPPORT_EXOTEL".to_owned(), "true".to_owned()),
            (
                "JOURNAL_DIR".to_owned(),
                dir.join("journal").display().to_string(),
            ),
        ];
        let own = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
        env.extend(plan.settings.iter().map(own));
        if let Some(disk) = &disk {
            env.extend(disk.env().map(|(name, value)| (name.to_owned(), value)));
        }
        let mut host = Host::new(dir.to_owned(), env);
        host.start().await;
        let lost = Arc::new(AtomicBool::new(false));
        let line = Line {
            seed: plan.seed,
            began: Instant::now(),
            address: host.address(),
            hush: CancellationToken::new(),
            lost: Arc::clone(&lost),
        };
        let world = Arc::new(World {
            began: line.began,
            admin: store.admin(),
            store: Mutex::new(store),
            proxy,
            disk,
            host: Mutex::new(host),
            lost,
            key: published::keys(plan.shards)[0].clone(),
        });
        let mut callers = JoinSet::new();
        for call in plan.calls.clone() {
            callers.spawn_local(play(call, line.clone()));
        }
        Self {
            plan,
            world,
            line,
            patience: PATIENCE,
            callers,
            began,
        }
    }

    /// Carries out the plan's faults, to the end of the last one.
    pub(crate) async fn suffer(&self) -> Vec<(Fault, bool)> {
        let mut faults = JoinSet::new();
        for fault in self.plan.faults.clone() {
            let world = Arc::clone(&self.world);
            faults.spawn_local(async move { (fault, world.suffer(fault).await) });
        }
        let mut suffered = Vec::new();
        while let Some(done) = faults.join_next().await {
            suffered.push(done.expect("a fault does not panic"));
        }
        suffered.sort_by_key(|(fault, _)| fault.at_ms);
        suffered
    }

    /// Heals everything and waits for the callers; what they know, and how long it took.
    pub(crate) async fn come_to_rest(&mut self, outcome: &mut Outcome) -> Vec<Ledger> {
        self.world.heal().await;
        self.line.hush.cancel();
        let healed = Instant::now();
        let mut ledgers = Vec::new();
        while let Ok(Some(ledger)) = timeout(self.left(healed), self.callers.join_next()).await {
            ledgers.push(ledger.expect("a caller does not panic"));
        }
        if !self.callers.is_empty() {
            let left = self.callers.len();
            let complaint = format!("{left} calls did not come to an end after all was healed");
            outcome.complaints.push(complaint);
        }
        ledgers.sort_by_key(|ledger| ledger.plan.number);
        let mut host = self.world.host.lock().await;
        let last = host.incarnations.len() - 1;
        let connections = ledgers
            .iter()
            .flat_map(|ledger| &ledger.legs)
            .filter(|leg| leg.incarnation == last);
        let connections = connections.count();
        within(self.patience, "the backlog to be published", async || {
            is_at_rest(host.service()).await.then_some(())
        })
        .await;
        outcome.caught_up = healed.elapsed();
        within(
            PATIENCE,
            "the sockets to be read to their ends",
            async || {
                let closed = host.service().logged("Connection closed").len();
                (closed >= connections).then_some(())
            },
        )
        .await;
        host.end().await;
        if self.plan.once_more {
            host.start().await;
            within(PATIENCE, "the service to be healthy again", async || {
                (host.service().health().await["status"] == "healthy").then_some(())
            })
            .await;
            host.end().await;
        }
        ledgers
    }

    fn left(&self, healed: Instant) -> Duration {
        let longest = |call: &CallPlan| {
            let bursts = u64::from(call.frames.unwrap_or(0) / call.pace.burst + 1);
            call.begins_ms + bursts * call.pace.pause_us / 1_000
        };
        let longest = self.plan.calls.iter().map(longest).max().unwrap_or(0);
        let until = self.line.began + Duration::from_millis(longest);
        (until.max(healed) + self.patience).saturating_duration_since(Instant::now())
    }

    /// Judges what was published.
    pub(crate) async fn judge(
        &self,
        outcome: &mut Outcome,
        ledgers: &[Ledger],
        published: &Published,
    ) {
        let mut host = self.world.host.lock().await;
        outcome.complaints.append(&mut host.complaints);
        outcome.complaints.extend(oracle::judge(&Evidence {
            plan: &self.plan,
            ledgers,
            published,
            incarnations: &host.incarnations,
            lost: self.world.lost.load(Ordering::SeqCst),
        }));
        outcome.calls = ledgers.len();
        outcome.connections = ledgers.iter().map(|ledger| ledger.legs.len()).sum();
        outcome.sessions = published.sessions.len();
        outcome.frames = published.frames;
        outcome.gaps = published.gaps.len();
        outcome.took = self.began.elapsed();
    }
}

/// Whether the service is well and has no backlog.
pub(crate) async fn is_at_rest(service: &Service) -> bool {
    let health = service.health().await;
    let problems = health["problems"].as_array();
    let empty = health["journal_bytes"] == 0 || problems.is_some_and(Vec::is_empty);
    health["status"] == "healthy" && empty
}

async fn play(call: CallPlan, line: Line) -> Ledger {
    if call.is_exotel() {
        exotel::play(call, line).await
    } else {
        client::play(call, line).await
    }
}

/// Plays a plan from its beginning to the verdict.
pub(crate) async fn whole(plan: Plan, dir: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let mut run = Run::begin(plan, dir).await;
    outcome.faults = run.suffer().await;
    let ledgers = run.come_to_rest(&mut outcome).await;
    let published = Published::read(&run.plan, &run.world.admin).await;
    let published = published.expect("what was published can be read");
    run.judge(&mut outcome, &ledgers, &published).await;
    if !outcome.complaints.is_empty() {
        std::fs::write(dir.join("callers.txt"), format!("{ledgers:#?}")).ok();
        std::fs::write(dir.join("published.txt"), describe(&published)).ok();
    }
    outcome
}

/// Sessions in short, for whoever looks into a failure.
fn describe(published: &Published) -> String {
    let mut text = String::new();
    for session in &published.sessions {
        text.extend([format!("call-{} session {}:", session.call, session.number)]);
        for seen in &session.frames {
            text.extend([format!(" {}:{}", seen.seq, seen.index)]);
        }
        text.push('\n');
    }
    for end in &published.ends {
        text.extend([format!("{} {}\n", end.at_ms, end.record)]);
    }
    text.extend([format!("{:#?}\n", published.gaps)]);
    text
}

/// Does something with a thread and a runtime of its own, so that runs beside each other do not mix. What a panic in it
/// said is the error.
pub(crate) fn alone<T>(what: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = LocalSet::new();
    let done = catch_unwind(AssertUnwindSafe(|| local.block_on(&runtime, what)));
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without words")
            .to_owned()
    })
}

/// A directory for one run.
pub(crate) fn directory(name: &str) -> TempDir {
    let made = tempfile::Builder::new()
        .prefix(&format!("chaos-{name}-{}-", clock::epoch_ms() % 1_000_000))
        .tempdir();
    made.expect("a temporary directory")
}

/// Leaves a run's directory where it is, for whoever looks into it.
pub(crate) fn keep(dir: TempDir) -> PathBuf {
    dir.keep()
}

/// After everything is healed: how long a debug build on a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(45);
