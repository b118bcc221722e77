//! How a lane turns to the journal and back, and what a killed one leaves to the next.

use super::*;

/// Another call than the stage's own.
pub(super) fn other() -> Arc<Progress> {
    Arc::new(Progress::new("t", "other", 0))
}

fn say(stage: &Stage, progress: &Arc<Progress>, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        let progress = Arc::clone(progress);
        let what = What::Frame {
            progress,
            seq,
            numbered: false,
            read: Moment::default(),
        };
        stage.lane.append_record(format!("f{seq}").as_bytes(), what);
    }
}

async fn safe(progress: &Progress, seq: u64) {
    within(async {
        while progress.durable() != Some(seq) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// What comes next, several frames as one transaction.
pub(super) async fn flight(session: &mut Session) -> Vec<String> {
    let command = session.command().await;
    if command != ["MULTI"] {
        return command.last().cloned().into_iter().collect();
    }
    let mut frames = Vec::new();
    loop {
        let command = session.command().await;
        if command == ["EXEC"] {
            return frames;
        }
        frames.extend(command.last().cloned());
    }
}

/// Takes flights until these frames have come, in this order.
pub(super) async fn take_all(session: &mut Session, seqs: std::ops::RangeInclusive<u64>) {
    let wanted = names(seqs);
    let mut came: Vec<String> = Vec::new();
    while came.len() < wanted.len() {
        let frames = within(flight(session)).await;
        if frames.len() == 1 {
            session.say(ID).await;
        } else {
            session.take(frames.len()).await;
        }
        came.extend(frames);
        assert!(
            wanted.starts_with(&came),
            "{:?} came",
            came.last_chunk::<9>()
        );
    }
}

pub(super) fn names(seqs: std::ops::RangeInclusive<u64>) -> Vec<String> {
    seqs.map(|seq| format!("f{seq}")).collect()
}

impl Stage {
    /// The process is killed, and the next one starts.
    pub(super) async fn restart(self) -> Self {
        let Self {
            listener,
            mut owner,
            journal,
            lane,
            ..
        } = self;
        owner.shutdown().await;
        // Its last write may still be under way.
        let settings = journal::Settings {
            dir: journal.path().to_owned(),
            max_bytes: 1 << 30,
        };
        within(async {
            while Keeper::open(&settings, Keep::Unpublished).is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        drop(lane);
        while timeout(Duration::from_millis(20), listener.accept())
            .await
            .is_ok()
        {}
        Self::over(journal, listener, GATHER)
    }

    /// Both calls have frames in the journal, this one's live; the other's, more than one piece, follow beside it.
    async fn with_a_backlog_beside(other: &Arc<Progress>, frames: u64) -> (Self, Session) {
        let stage = Self::new(GATHER).await;
        stage.lane.enter(stage.progress.call);
        stage.append(1..=1);
        stage.durable(1).await;
        stage.append(2..=2);
        say(&stage, other, 1..=frames);
        stage.durable(2).await;
        safe(other, frames).await;
        let mut session = stage.accept().await;
        take_all(&mut session, 1..=2).await;
        (stage, session)
    }
}

#[tokio::test]
async fn what_stays_refused_is_safe_in_the_journal_and_sent_once() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=3);
    let mut session = stage.accept().await;
    session.expect(1..=3).await;
    stage.append(4..=5);
    session.refuse(MISCONF).await;
    while session.transaction().await == ["f1", "f2", "f3"] && stage.progress.durable() != Some(5) {
        session.refuse(MISCONF).await;
    }
    stage.append(6..=6);
    session.take(3).await;
    take_all(&mut session, 4..=6).await;
    stage.durable(6).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_call_that_comes_back_after_its_backlog_goes_the_direct_way() {
    let other = other();
    let (stage, mut session) = Stage::with_a_backlog_beside(&other, 3).await;
    take_all(&mut session, 1..=3).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    say(&stage, &other, 4..=4);
    take_all(&mut session, 4..=4).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_call_that_comes_back_beside_its_backlog_is_not_lost_when_giving_up() {
    let other = other();
    let (mut stage, mut session) = Stage::with_a_backlog_beside(&other, 3).await;
    assert_eq!(flight(&mut session).await, names(1..=3));
    say(&stage, &other, 4..=4);
    stage.append(3..=3);
    tokio::time::sleep(Duration::from_millis(20)).await;
    stage.give_up.take();
    let left = within(stage.owner.join_next()).await.unwrap().unwrap();
    assert_eq!((left.lost, left.journaled), (0, 5));
}

#[tokio::test]
async fn what_comes_beside_a_backlog_stays_behind_it_over_another_outage() {
    let other = other();
    let (stage, mut session) = Stage::with_a_backlog_beside(&other, 1200).await;
    let first = flight(&mut session).await;
    assert_eq!(first, names(1..=first.len() as u64));
    drop(session);
    say(&stage, &other, 1201..=1203);
    safe(&other, 1203).await;
    let mut session = stage.accept().await;
    take_all(&mut session, 1..=1203).await;
    stage.finish().await;
}

#[tokio::test]
async fn calls_go_on_when_the_connection_breaks_at_the_end_of_a_catch_up() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=1);
    stage.durable(1).await;
    stage.append(2..=3);
    stage.durable(3).await;
    let mut session = stage.accept().await;
    take_all(&mut session, 1..=1).await;
    assert_eq!(flight(&mut session).await, names(2..=3));
    drop(session);
    stage.append(4..=4);
    stage.durable(4).await;
    let mut session = stage.accept().await;
    take_all(&mut session, 2..=4).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_kill_between_the_replies_to_a_flight_repeats_nothing() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=1);
    stage.durable(1).await;
    stage.append(2..=2003);
    stage.durable(2003).await;
    let mut session = stage.accept().await;
    take_all(&mut session, 1..=2001).await;
    assert_eq!(flight(&mut session).await, names(2002..=2003));
    let id = format!("$15\r\n{}-1\r\n", LATER + 1);
    session
        .say(&format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n{id}"))
        .await;
    // Long enough for a note of the first of the two replies.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let stage = stage.restart().await;
    let mut session = stage.accept().await;
    session.stream_holds = vec![(LATER + 1, "f2002"), (LATER + 2, "f2003")];
    stage.append(2004..=2004);
    take_all(&mut session, 2004..=2004).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_kill_between_the_frames_of_a_call_and_its_end_repeats_nothing() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=1);
    stage.durable(1).await;
    stage.append(2..=3);
    let what = What::CallEnd(Arc::clone(&stage.progress));
    stage.lane.append_record(b"end", what);
    stage.durable(3).await;
    let mut session = stage.accept().await;
    take_all(&mut session, 1..=1).await;
    assert_eq!(flight(&mut session).await, names(2..=3));
    let id = |ms: u64| format!("$15\r\n{}-1\r\n", LATER + ms);
    let (queued, ids) = ("+QUEUED\r\n+QUEUED\r\n", id(1) + &id(2));
    session.say(&format!("+OK\r\n{queued}*2\r\n{ids}")).await;
    assert_eq!(flight(&mut session).await, ["end"]);
    // Long enough for a note.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let stage = stage.restart().await;
    let mut session = stage.accept().await;
    session.stream_holds = (LATER..).zip(["f1", "f2", "f3"]).collect();
    assert_eq!(flight(&mut session).await, ["end"]);
    session.say(ID).await;
    stage.append(4..=4);
    take_all(&mut session, 4..=4).await;
    stage.finish().await;
}

#[tokio::test]
async fn two_kills_in_a_row_repeat_nothing() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=1);
    stage.durable(1).await;
    stage.append(2..=6);
    stage.durable(6).await;
    let mut session = stage.accept().await;
    take_all(&mut session, 1..=1).await;
    assert_eq!(flight(&mut session).await, names(2..=6));
    let stage = stage.restart().await;
    let mut session = stage.accept().await;
    session.stream_holds = (LATER..).zip(["f1", "f2", "f3", "f4"]).collect();
    assert_eq!(flight(&mut session).await, names(5..=6));
    let stage = stage.restart().await;
    let mut session = stage.accept().await;
    session.stream_holds = (LATER..)
        .zip(["f1", "f2", "f3", "f4", "f5", "f6"])
        .collect();
    stage.append(7..=7);
    take_all(&mut session, 7..=7).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_kill_right_after_an_outage_repeats_nothing() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=3);
    stage.durable(3).await;
    let mut session = stage.accept().await;
    assert_eq!(flight(&mut session).await, names(1..=3));
    let stage = stage.restart().await;
    let mut session = stage.accept().await;
    session.stream_holds = (LATER..).zip(["f1", "f2", "f3"]).collect();
    stage.append(4..=4);
    take_all(&mut session, 4..=4).await;
    stage.finish().await;
}

/// Behind all that the server has confirmed.
pub(super) const LATER: u64 = 1_762_500_000_001;

#[tokio::test]
async fn a_journal_that_takes_nothing_is_not_full_any_more_once_redis_is_back() {
    let stage = Stage::new(GATHER).await;
    std::fs::remove_dir_all(stage.journal.path()).unwrap();
    stage.append(1..=3);
    within(async {
        while !stage.lane.is_full() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut session = stage.accept().await;
    assert_eq!(flight(&mut session).await, names(1..=3));
    assert!(!stage.lane.is_full());
    session.take(3).await;
    stage.durable(3).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_note_that_failed_holds_nothing_up_and_is_made_later() {
    let stage = Stage::new(GATHER).await;
    let (cursor, in_the_way) = (
        stage.journal.path().join("cursor"),
        stage.journal.path().join("cursor.new"),
    );
    std::fs::create_dir(&in_the_way).unwrap();
    stage.append(1..=2);
    stage.durable(2).await;
    let mut session = stage.accept().await;
    assert_eq!(flight(&mut session).await, names(1..=2));
    let problem = stage.lane.status.journal().problem;
    assert!(problem.unwrap().contains("cursor"));
    std::fs::remove_dir(&in_the_way).unwrap();
    within(async {
        while !cursor.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    session.take(2).await;
    stage.finish().await;
}
