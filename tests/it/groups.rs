//! Consumer groups that fall behind, read nothing or are gone (5.8): `/health` and the log say so, and what was to be
//! made is made again.

use std::{path::Path, time::Duration};

use redis::{Value, cmd};
use rtaa_ingest::{
    journal,
    publisher::{Destination, Left, Publisher, RedisSettings, Settings, Topology, Trim},
    record::frame::FrameFormat,
    secret::Secret,
};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    conversation::{assert_run, begin, speak},
    redis::{Fields, Redis, consumer, frame},
    rig::{Rig, setup},
    service::Service,
    wait::{MOMENT, never, until},
};

type Entries = Vec<(String, Fields)>;

/// The problem that names this group.
async fn problem(service: &Service, group: &str) -> Option<String> {
    let health = service.health().await;
    let problems = health["problems"].as_array().expect("a list");
    let mut problems = problems.iter().filter_map(serde_json::Value::as_str);
    let named = format!("consumer group {group} of audio_stream");
    problems
        .find(|problem| problem.contains(&named))
        .map(str::to_owned)
}

/// Entries of other audio, at these ms.
async fn fill(redis: &Redis, at: impl IntoIterator<Item = u64>) {
    for ms in at {
        let id = format!("{ms}-0");
        redis
            .tell::<String>(&["XADD", "audio_stream", &id, "data", "{}"])
            .await;
    }
}

async fn make_group(redis: &Redis, group: &str) {
    redis
        .tell::<String>(&["XGROUP", "CREATE", "audio_stream", group, "0", "MKSTREAM"])
        .await;
}

/// Everything that a group has not been given, acknowledged.
async fn read_all(redis: &Redis, group: &str) -> Entries {
    let mut link = consumer(redis).await;
    let words = [
        "GROUP",
        group,
        "w1",
        "NOACK",
        "STREAMS",
        "audio_stream",
        ">",
    ];
    let read: Option<Vec<(String, Entries)>> = cmd("XREADGROUP")
        .arg(&words)
        .query_async(&mut link)
        .await
        .expect("redis answers");
    read.unwrap_or_default()
        .into_iter()
        .flat_map(|(_, entries)| entries)
        .collect()
}

// 5.8: a group whose next entry is nearly as old as what trimming keeps is named while it can still read all of it.
#[tokio::test]
async fn a_group_that_falls_behind_is_named_before_it_loses_audio() {
    let redis = Redis::start().await;
    make_group(&redis, "slow").await;
    fill(&redis, (0..=100).map(|second| 1_000_000 + second * 1_000)).await;
    let rig = Rig::over(redis, &[]).await;
    let told = until("the group to be named", async || {
        problem(&rig.service, "slow").await
    })
    .await;
    for words in [
        "100 s (101 entries) behind",
        "in 20 s",
        "AUDIO_STREAM_RETENTION_S",
    ] {
        assert!(told.contains(words), "{told}");
    }
    let line = rig
        .service
        .wait_for_log("Consumer group falls behind")
        .await;
    assert_eq!(
        (&line["level"], &line["group"]),
        (&"WARN".into(), &"slow".into())
    );
    assert_eq!(read_all(&rig.redis, "slow").await.len(), 101);
    until("the group to be fine again", async || {
        problem(&rig.service, "slow").await.is_none().then_some(())
    })
    .await;
    rig.service
        .wait_for_log("Consumer group keeps up again")
        .await;
    let warnings = rig.service.logged("Consumer group falls behind");
    assert_eq!(warnings.len(), 1, "once per episode");
}

// 5.8: audio that was trimmed unread is an error.
#[tokio::test]
async fn a_group_that_has_lost_audio_is_named() {
    let redis = Redis::start().await;
    make_group(&redis, "late").await;
    fill(&redis, (0..=100).map(|second| 1_000_000 + second * 1_000)).await;
    let rig = Rig::over(redis, &[]).await;
    until("the group to be named", async || {
        problem(&rig.service, "late").await
    })
    .await;
    let trim = ["XTRIM", "audio_stream", "MINID", "1005000"];
    assert_eq!(rig.redis.tell::<u64>(&trim).await, 5);
    let told = until("the loss to be told", async || {
        let told = problem(&rig.service, "late").await?;
        told.contains("has lost audio").then_some(told)
    })
    .await;
    let line = rig
        .service
        .wait_for_log("Consumer group has lost audio")
        .await;
    assert_eq!(line["level"], "ERROR", "{told}");
}

// 5.8: with AUDIO_STREAM_MAXLEN what counts are entries.
#[tokio::test]
async fn a_group_is_watched_also_where_entries_are_counted() {
    let redis = Redis::start().await;
    make_group(&redis, "slow").await;
    fill(&redis, (0..=100).map(|entry| 1_000_000 + entry * 20)).await;
    let rig = Rig::over(redis, &[("AUDIO_STREAM_MAXLEN", "120")]).await;
    let told = until("the group to be named", async || {
        problem(&rig.service, "slow").await
    })
    .await;
    for words in [
        "(101 entries) behind",
        "audio is lost to it",
        "AUDIO_STREAM_MAXLEN",
    ] {
        assert!(told.contains(words), "{told}");
    }
}

// 5.8: a group whose workers are gone is named; one that has read everything is not.
#[tokio::test]
async fn a_group_that_nobody_reads_for_is_named() {
    let redis = Redis::start().await;
    let restore = cmd("RESTORE")
        .arg("audio_stream")
        .arg(0)
        .arg(ABANDONED)
        .to_owned();
    redis.ask::<String>(&restore).await.expect("it is restored");
    redis
        .tell::<String>(&["XGROUP", "CREATE", "audio_stream", "done", "$"])
        .await;
    let rig = Rig::over(redis, &[]).await;
    let told = until("the group to be named", async || {
        problem(&rig.service, "idle").await
    })
    .await;
    assert!(told.contains("reads nothing"), "{told}");
    assert!(told.contains("XGROUP DESTROY audio_stream idle"), "{told}");
    rig.service
        .wait_for_log("Consumer group reads nothing")
        .await;
    assert_eq!(problem(&rig.service, "done").await, None);
}

// 5.8: a stream that is removed gets its groups back, and they miss nothing of what comes then.
#[tokio::test]
async fn a_group_that_is_gone_is_made_again() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("AUDIO_CONSUMER_GROUPS", "asr")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "goes-on", 10).await;
    rig.redis.wait_for_frames("goes-on", 10).await;
    assert_eq!(read_all(&rig.redis, "asr").await.len(), 10);
    rig.redis.tell::<u64>(&["DEL", "audio_stream"]).await;
    speak(&mut socket, 11, 20).await;
    until("the group to be made again", async || {
        let command = cmd("XINFO").arg("GROUPS").arg("audio_stream").to_owned();
        let groups: Vec<Value> = rig.redis.ask(&command).await.ok()?;
        (groups.len() == 1).then_some(())
    })
    .await;
    speak(&mut socket, 21, 30).await;
    rig.redis.wait_for_frames("goes-on", 20).await;
    let read = read_all(&rig.redis, "asr").await;
    let frames: Vec<_> = read.iter().map(|(id, fields)| frame(id, fields)).collect();
    assert_run(&frames, 11, 11, 30);
    // Without a frame to come, too.
    rig.redis.tell::<u64>(&["DEL", "audio_stream"]).await;
    until("the stream to be made again", async || {
        let groups = ["XINFO", "GROUPS", "audio_stream"];
        let groups: Vec<Value> = rig.redis.ask(cmd(groups[0]).arg(&groups[1..])).await.ok()?;
        (groups.len() == 1).then_some(())
    })
    .await;
}

// 5.8: where the Redis user may not look, that is said, and frames are published all the same.
#[tokio::test]
async fn a_redis_that_does_not_show_its_groups_is_told_of() {
    let redis = Redis::start().await;
    let user = [
        "ACL", "SETUSER", "blind", "on", ">secret", "~*", "+@all", "-xinfo",
    ];
    redis.tell::<String>(&user).await;
    let url = redis.url().replace("redis://", "redis://blind:secret@");
    let rig = Rig::over(redis, &[("SUPPORT_EXOTEL", "true"), ("REDIS_URL", &url)]).await;
    let told = until("the problem to be told", async || {
        let problems = rig.service.health().await["problems"].to_string();
        problems.contains("are not watched").then_some(problems)
    })
    .await;
    assert!(
        told.contains("NOPERM") && told.contains("XINFO, XPENDING"),
        "{told}"
    );
    let mut socket = rig.exotel().await;
    begin(&mut socket, "unwatched", 5).await;
    rig.redis.wait_for_frames("unwatched", 5).await;
    assert_eq!(rig.service.health().await["pubsub"], true);
}

// Redis away is said once, by what publishes: nothing of groups beside it.
#[tokio::test]
async fn a_redis_that_is_away_is_told_of_once() {
    let redis = Redis::absent();
    let service = setup(&redis, &[("AUDIO_CONSUMER_GROUPS", "asr")])
        .start()
        .await;
    until("the outage to be told", async || {
        let health = service.health().await;
        (health["problems"].as_array()?.len() == 1).then_some(())
    })
    .await;
    never(MOMENT, "a second problem", async || {
        let problems = service.health().await["problems"].clone();
        (problems.as_array()?.len() != 1).then_some(problems)
    })
    .await;
}

/// The publisher itself, for what no endpoint shows.
fn publisher(
    redis: &Redis,
    journal: &Path,
    owners: &mut JoinSet<Left>,
    stop: &CancellationToken,
) -> Publisher {
    let settings = Settings {
        destination: Destination::Redis(RedisSettings {
            urls: vec![Secret::new(redis.url())],
            topology: Topology::Standalone,
            tls_ca: None,
            tls_client: None,
        }),
        stream: "audio_stream".to_owned(),
        shards: 2,
        trim: Trim::Age(Duration::from_mins(2)),
        consumer_groups: vec!["asr".to_owned()],
        gather: Duration::ZERO,
        format: FrameFormat::Json,
    };
    let journal = journal::Settings {
        dir: journal.into(),
        max_bytes: 1 << 20,
    };
    Publisher::start(&settings, &journal, owners, stop).expect("it starts")
}

#[tokio::test]
async fn figures_of_a_group_are_told_over_all_streams() {
    let redis = Redis::start().await;
    let (mut owners, stop) = (JoinSet::new(), CancellationToken::new());
    let journal = tempfile::tempdir().expect("a directory");
    let publisher = publisher(&redis, journal.path(), &mut owners, &stop);
    for (stream, seconds) in [("audio_stream:{0}", 10), ("audio_stream:{1}", 50)] {
        for second in [0, seconds] {
            let id = format!("{}-0", 1_000_000 + second * 1_000);
            redis
                .tell::<String>(&["XADD", stream, &id, "data", "{}"])
                .await;
        }
    }
    let group = until("the figures", async || {
        let groups = publisher.groups();
        (groups.first()?.lag_entries == 4).then(|| groups[0].clone())
    })
    .await;
    assert_eq!((group.name.as_str(), group.lag_seconds), ("asr", 50.0));
    assert_eq!(group.margin_seconds, Some(70.0));
    publisher.close();
    let all = async { while owners.join_next().await.is_some() {} };
    timeout(Duration::from_secs(10), all)
        .await
        .expect("all tasks end");
}

// 4.5: metadata is looked up beside the lane, within a second, whatever Redis does.
#[tokio::test]
async fn metadata_is_looked_up_and_nobody_waits_long_for_it() {
    let mut redis = Redis::start().await;
    let (mut owners, stop) = (JoinSet::new(), CancellationToken::new());
    let journal = tempfile::tempdir().expect("a directory");
    let publisher = publisher(&redis, journal.path(), &mut owners, &stop);
    redis
        .tell::<String>(&["SET", "call:metadata:known", "{\"lastSeq\":7}"])
        .await;
    let found = until("the metadata", async || {
        publisher.metadata_of("known").await
    })
    .await;
    assert_eq!(found, b"{\"lastSeq\":7}");
    assert_eq!(publisher.metadata_of("unknown").await, None);
    redis.freeze();
    let waiting = async || publisher.metadata_of("known").await;
    let answer = timeout(Duration::from_secs(5), waiting()).await;
    assert_eq!(answer.expect("it gives up"), None);
    redis.thaw();
    until("the metadata after the stall", waiting).await;
    redis.kill().await;
    let answer = timeout(Duration::from_secs(5), waiting()).await;
    assert_eq!(answer.expect("it gives up"), None);
    stop.cancel();
    while owners.join_next().await.is_some() {}
}

/// What `DUMP` of Redis 7.0 gave for a stream with one entry and a group `idle`, whose only consumer last asked in 2023.
const ABANDONED: &[u8] = &[
    0x13, 0x01, 0x10, 0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x20, 0x20, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x01, 0x01, 0x00, 0x01, 0x01, 0x01,
    0x84, 0x64, 0x61, 0x74, 0x61, 0x05, 0x00, 0x01, 0x02, 0x01, 0x00, 0x01, 0x00, 0x01, 0x81, 0x78,
    0x02, 0x04, 0x01, 0xff, 0x01, 0x81, 0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0x00, 0x81,
    0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0x00, 0x00, 0x00, 0x01, 0x01, 0x04, 0x69, 0x64,
    0x6c, 0x65, 0x00, 0x00, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x01, 0x08,
    0x77, 0x6f, 0x72, 0x6b, 0x65, 0x72, 0x2d, 0x31, 0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0x00, 0x00,
    0x00, 0x0a, 0x00, 0xac, 0xfe, 0xb5, 0xd6, 0x95, 0x7f, 0x13, 0xab,
];
