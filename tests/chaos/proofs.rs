//! Four proofs that take one fault to its end: kills under load, connections cut mid-write, a long outage with
//! nothing trimmed, and one with trimming and a slow consumer. They use the callers and the oracle of the runs.
//!
//! Short by themselves; `make proofs` is the long form, and the environment has every size (`CHAOS_KILLS`, …).

use std::{path::Path, time::Duration};

use ::redis::{aio::MultiplexedConnection, cmd};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    plan::{CallPlan, Pace, Plan, Speaker, Tear},
    proxy::{How, Strike},
    published::Published,
    random::Random,
    redis::Fields,
    run::{self, Outcome, Run},
    series::say,
    settings::number,
    wait::within,
};

// 5.6: a killed process loses nothing that it had acked, whether that was in Redis or in the journal.
#[test]
fn kills_under_load_lose_nothing_acked() {
    let kills = number("CHAOS_KILLS", 5);
    prove("kills", async |dir| {
        let mut random = Random::of(number("CHAOS_SEED", 1), 10);
        let clients = [Speaker::Numbered, Speaker::Plain, Speaker::Binary];
        let plan = plan(&[("ACK_INTERVAL", "5")], &clients, 10);
        let mut run = Run::begin(plan, dir).await;
        for round in 0..kills {
            sleep(Duration::from_millis(random.range(100, 700))).await;
            // In every other round Redis is away when it happens, and for a while after it.
            let away = round % 2 == 1;
            if away {
                run.world.proxy.refuse();
                sleep(Duration::from_millis(random.range(20, 400))).await;
            }
            let mut host = run.world.host.lock().await;
            host.kill().await;
            host.start().await;
            drop(host);
            if away {
                sleep(Duration::from_millis(random.range(0, 300))).await;
                run.world.proxy.admit();
            }
        }
        finish(&mut run).await
    });
}

// 5.5: a connection that breaks mid-write leaves neither a hole nor a duplicate.
#[test]
fn cuts_at_random_bytes_leave_neither_hole_nor_duplicate() {
    let cuts = number("CHAOS_CUTS", 20);
    prove("cuts", async |dir| {
        let mut random = Random::of(number("CHAOS_SEED", 1), 11);
        let speakers = [Speaker::Exotel, Speaker::Numbered, Speaker::Plain];
        let mut run = Run::begin(plan(&[], &speakers, 12), dir).await;
        for cut in 1..=cuts {
            let how = match random.range(0, 3) {
                0 | 1 => How::Request,
                2 => How::Reply,
                _ => How::Late(Duration::from_millis(random.range(5, 300))),
            };
            // A connection's beginning takes 8,000 bytes of replies, and 250 of requests.
            let most = random.pick(&[500, 12_000, 40_000]);
            let after = random.range(0, most);
            run.world.proxy.strike(Strike { after, how });
            let what = format!("cut {cut} of {cuts}");
            within(Duration::from_secs(30), &what, async || {
                (run.world.proxy.struck() >= cut).then_some(())
            })
            .await;
        }
        finish(&mut run).await
    });
}

// 5.3: an outage with nothing trimmed: every frame is there, in order.
#[test]
fn an_outage_leaves_every_frame_in_order() {
    let (lasts, calls) = outage();
    prove("outage", async |dir| {
        let settings = [("AUDIO_STREAM_MAXLEN", "0")];
        let speakers = [Speaker::Exotel, Speaker::Numbered];
        let mut run = Run::begin(plan(&settings, &speakers, calls), dir).await;
        run.patience += lasts;
        let backlog = suffer_outage(&run, lasts, Duration::from_secs(1)).await;
        let mut outcome = finish(&mut run).await;
        outcome.caught_up = backlog;
        outcome
    });
}

// 5.8: the backlog is published no faster than a group that reads can take it before it is trimmed.
#[test]
fn a_slow_consumer_reads_every_frame_of_a_backlog() {
    let (lasts, calls) = outage();
    prove("consumer", async |dir| {
        // At its own speed the backlog would be trimmed before the group had read half of it.
        let retention = Duration::from_secs((lasts.as_secs() / 2).clamp(2, 120));
        let settings = [
            (
                "AUDIO_STREAM_RETENTION_S",
                &*retention.as_secs().to_string(),
            ),
            ("AUDIO_CONSUMER_GROUPS", GROUP),
        ];
        let speakers = [Speaker::Exotel, Speaker::Numbered];
        let mut run = Run::begin(plan(&settings, &speakers, calls), dir).await;
        run.patience += 3 * lasts;
        let live_per_s = u64::from(calls) * 50;
        let mut link = run
            .world
            .admin
            .connect(Duration::from_secs(30))
            .await
            .expect("redis accepts");
        let mut published = Published::new(&run.plan);
        let over = CancellationToken::new();
        let mut consumer = JoinSet::new();
        let no_more = over.clone();
        consumer.spawn_local(async move {
            consume(&mut link, &mut published, live_per_s * 3 / 2, no_more).await;
            published
                .read_records(&mut link)
                .await
                .expect("redis reads");
            published
        });
        // New frames push out what is older than the retention.
        let backlog = suffer_outage(&run, lasts, 3 * retention).await;
        let mut outcome = Outcome::default();
        let ledgers = run.come_to_rest(&mut outcome).await;
        over.cancel();
        let published = consumer.join_next().await.expect("a consumer");
        let published = published.expect("it does not panic");
        run.judge(&mut outcome, &ledgers, &published).await;
        outcome.caught_up = backlog;
        outcome
    });
}

/// How long Redis is away, and how many calls go on meanwhile.
fn outage() -> (Duration, u32) {
    let calls = number("CHAOS_OUTAGE_CALLS", 20);
    (
        Duration::from_secs(number("CHAOS_OUTAGE_S", 5)),
        u32::try_from(calls).expect("a small number"),
    )
}

/// Runs a proof; fails the test with what was violated and where the logs are.
fn prove(name: &str, proof: impl AsyncFnOnce(&Path) -> Outcome) {
    let dir = run::directory(name);
    let outcome = run::alone(proof(dir.path())).unwrap_or_else(|panic| Outcome {
        complaints: vec![panic],
        ..Outcome::default()
    });
    if !outcome.complaints.is_empty() {
        let all = outcome.complaints.iter().take(20);
        let all: Vec<&str> = all.map(String::as_str).collect();
        panic!("{}\nlogs: {}", all.join("\n"), run::keep(dir).display());
    }
    let Outcome {
        calls,
        connections,
        sessions,
        frames,
        caught_up,
        took,
        ..
    } = outcome;
    say(&format!(
        "{name}: {calls} calls on {connections} connections, {sessions} sessions, {frames} frames in {took:.1?}; \
         caught up {caught_up:.2?} after the end of the last fault\n"
    ));
}

/// Calls in real time that go on until they are told to end.
fn plan(settings: &[(&'static str, &str)], speakers: &[Speaker], calls: u32) -> Plan {
    let call = |number: u32| CallPlan {
        number,
        speaker: speakers[number as usize % speakers.len()],
        rate: 8_000,
        frame_bytes: 320,
        begins_ms: u64::from(number) * 1_000 / u64::from(calls),
        frames: None,
        pace: Pace {
            burst: 1,
            pause_us: 20_000,
        },
        breaks: Vec::new(),
        ending: Tear::Stop,
    };
    let mut all = vec![
        ("DRAIN_TIMEOUT_S", "1".to_owned()),
        ("JOURNAL_MAX_BYTES", (6_u64 << 30).to_string()),
    ];
    all.extend(
        settings
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    if !settings
        .iter()
        .any(|(name, _)| name.starts_with("AUDIO_STREAM_"))
    {
        all.push(("AUDIO_STREAM_MAXLEN", "0".to_owned()));
    }
    Plan {
        seed: number("CHAOS_SEED", 1),
        settings: all,
        shards: 1,
        calls: (0..calls).map(call).collect(),
        faults: Vec::new(),
        persistent: false,
        once_more: true,
        may_drop: false,
    }
}

/// Lets all calls begin, takes Redis away, gives it back; how long it took until all was published. The calls go on
/// for a while after it.
async fn suffer_outage(run: &Run, lasts: Duration, after: Duration) -> Duration {
    sleep(Duration::from_millis(1_500)).await;
    run.world.proxy.refuse();
    sleep(lasts).await;
    run.world.proxy.admit();
    let back = Instant::now();
    let host = run.world.host.lock().await;
    within(run.patience, "the backlog to be published", async || {
        run::is_at_rest(host.service()).await.then_some(())
    })
    .await;
    let took = back.elapsed();
    sleep(after).await;
    took
}

async fn finish(run: &mut Run) -> Outcome {
    let mut outcome = Outcome::default();
    let ledgers = run.come_to_rest(&mut outcome).await;
    let published = Published::read(&run.plan, &run.world.admin).await;
    let published = published.expect("what was published can be read");
    run.judge(&mut outcome, &ledgers, &published).await;
    outcome
}

/// Reads what a group of its kind is given, at most so many frames a second, until there is nothing more to come.
async fn consume(
    link: &mut MultiplexedConnection,
    published: &mut Published,
    per_s: u64,
    no_more: CancellationToken,
) {
    within(
        Duration::from_secs(20),
        "the group to be made",
        async || {
            let groups = cmd("XINFO").arg("GROUPS").arg("audio_stream").to_owned();
            let groups: Vec<::redis::Value> = groups.query_async(link).await.ok()?;
            (!groups.is_empty()).then_some(())
        },
    )
    .await;
    let pause = Duration::from_micros(PAGE * 1_000_000 / per_s);
    loop {
        let page_began = Instant::now();
        // Before the reading: what comes empty after the service has ended is the end.
        let last = no_more.is_cancelled();
        let read: Option<Vec<Stream>> = cmd("XREADGROUP")
            .arg(&["GROUP", GROUP, "slow", "COUNT"])
            .arg(PAGE)
            .arg(&["BLOCK", "200", "STREAMS", "audio_stream", ">"])
            .query_async(link)
            .await
            .expect("redis reads");
        let entries = read.into_iter().flatten().flat_map(|(_, entries)| entries);
        let mut ack = cmd("XACK");
        ack.arg(&["audio_stream", GROUP]);
        let mut count = 0;
        for (id, fields) in entries {
            published.take_frame(&id, &fields);
            ack.arg(&id);
            count += 1;
        }
        if count > 0 {
            let _: u64 = ack.query_async(link).await.expect("redis acks");
        } else if last {
            return;
        }
        sleep(pause.saturating_sub(page_began.elapsed())).await;
    }
}

/// A stream's key and its entries, as XREADGROUP gives them.
type Stream = (String, Vec<(String, Fields)>);

const GROUP: &str = "workers";
const PAGE: u64 = 50;
