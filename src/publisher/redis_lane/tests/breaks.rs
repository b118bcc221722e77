//! What a lane does when its connection breaks, or the server turns out to be another.

use super::*;

#[tokio::test]
async fn after_a_cut_what_was_not_confirmed_comes_first() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=4);
    let mut session = stage.accept().await;
    session.expect(1..=4).await;
    session
        .say(&format!("+OK\r\n{}*4\r\n{ID}{ID}", "+QUEUED\r\n".repeat(4)))
        .await;
    stage.durable(2).await;
    drop(session);
    stage.append(5..=6);
    let mut session = stage.accept().await;
    session.expect(3..=4).await;
    session.take(2).await;
    session.expect(5..=6).await;
    session.take(2).await;
    stage.durable(6).await;
    stage.finish().await;
}

#[tokio::test]
async fn after_a_cut_what_had_arrived_is_not_sent_again() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=3);
    let mut session = stage.accept().await;
    session.expect(1..=3).await;
    drop(session);
    let mut session = stage.accept().await;
    // Somebody else's entry, then two of ours, then the end of the stream.
    session.stream_holds = vec![(7, "other"), (8, "f1"), (9, "f2")];
    stage.append(4..=4);
    session.expect(3..=3).await;
    assert_eq!(stage.progress.durable(), Some(2));
    session.say(ID).await;
    session.expect(4..=4).await;
    session.say(ID).await;
    stage.durable(4).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_transaction_that_did_not_leave_whole_needs_no_looking_for() {
    let stage = Stage::new(GATHER).await;
    let large = "x".repeat(8 << 20);
    stage.append(1..=1);
    stage.append_text(2, &large);
    let mut session = stage.accept().await;
    assert_eq!(session.command().await, ["MULTI"]);
    drop(session);
    let (stream, _) = within(stage.listener.accept()).await.unwrap();
    let mut session = Session {
        stream,
        bytes: Vec::new(),
        stream_holds: Vec::new(),
    };
    for (word, answer) in [
        ("CLIENT", "+OK\r\n"),
        ("CLIENT", "-NOPERM\r\n"),
        ("INFO", "-NOPERM\r\n"),
        // Where the streams stand, but not what is in them.
        ("XREVRANGE", "*0\r\n"),
        ("XREVRANGE", "*0\r\n"),
        ("XREVRANGE", "*0\r\n"),
    ] {
        assert_eq!(session.any_command().await[0], word);
        session.say(answer).await;
    }
    assert_eq!(session.any_command().await, ["MULTI"]);
}

#[tokio::test]
async fn what_was_refused_before_a_cut_is_not_lost() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=3);
    let mut session = stage.accept().await;
    session.expect(1..=3).await;
    session.refuse(MISCONF).await;
    drop(session);
    let mut session = stage.accept().await;
    session.expect(1..=3).await;
    assert_eq!(stage.progress.durable(), None);
    session.take(3).await;
    stage.durable(3).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_replica_is_left_for_a_new_connection() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=3);
    let mut replica = stage.accept().await;
    replica.expect(1..=3).await;
    replica.refuse("-READONLY no writes\r\n").await;
    let mut primary = stage.accept().await;
    primary.expect(1..=3).await;
    assert!(
        stage.lane.status.problem().is_some(),
        "a connection alone is not yet good"
    );
    primary.take(3).await;
    stage.durable(3).await;
    assert_eq!(stage.lane.status.problem(), None);
    stage.finish().await;
}

#[tokio::test]
async fn what_is_left_when_giving_up_is_in_the_journal() {
    let mut stage = Stage::new(GATHER).await;
    stage.append(1..=3);
    let mut session = stage.accept().await;
    session.expect(1..=3).await;
    session
        .say(&format!("+OK\r\n{}*3\r\n{ID}", "+QUEUED\r\n".repeat(3)))
        .await;
    stage.durable(1).await;
    stage.append(4..=4);
    stage.give_up.take();
    let left = within(stage.owner.join_next()).await.unwrap().unwrap();
    assert_eq!((left.lost, left.journaled), (0, 3));
    let mut reader = journal::reader::Reader::open(stage.journal.path()).unwrap();
    for frame in ["f2", "f3", "f4"] {
        let fields = reader.next().unwrap().unwrap().record.fields;
        let text = String::from_utf8_lossy(fields);
        assert!(text.ends_with(&format!("{frame}\r\n")), "{text}");
    }
    assert_eq!(stage.progress.durable(), Some(4));
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_named_and_read_when_it_is_back() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=1);
    stage.durable(1).await;
    stage.append(2..=2);
    stage.durable(2).await;
    let (dir, away) = (
        stage.journal.path(),
        stage.journal.path().with_extension("away"),
    );
    std::fs::rename(dir, &away).unwrap();
    let mut session = stage.accept().await;
    session.expect(1..=1).await;
    session.say(ID).await;
    let unreadable = || stage.lane.status.journal().unreadable;
    within(async {
        while !unreadable().is_some_and(|told| told.contains(&dir.display().to_string())) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    std::fs::rename(&away, dir).unwrap();
    session.expect(2..=2).await;
    assert_eq!(unreadable(), None);
    session.say(ID).await;
    stage.finish().await;
}
