//! A record that is no frame is refused, for as long as an operator takes to notice: nothing else waits for it.

use super::{
    turns::{LATER, flight, names, other, take_all},
    *,
};

const WRONGTYPE: &str = "-WRONGTYPE no stream\r\n";

impl Stage {
    fn append_end(&self, text: &str, progress: &Arc<Progress>) {
        let what = What::CallEnd(Arc::clone(progress));
        self.lane.append_record(text.as_bytes(), what);
    }

    fn append_event(&self, text: &str) {
        let what = What::CallEvent(Arc::clone(&self.progress));
        self.lane.append_record(text.as_bytes(), what);
    }

    /// Appends frame `next` and those behind it, until one goes the direct way; returns the next number. Records that
    /// are no frames are refused.
    async fn until_direct(&self, session: &mut Session, mut next: u64) -> u64 {
        loop {
            self.append(next..=next);
            let name = format!("f{next}");
            let mut came = flight(session).await;
            while !came.contains(&name) {
                session.answer(&came).await;
                came = flight(session).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let is_direct = self.progress.durable() < Some(next);
            session.answer(&came).await;
            self.durable(next).await;
            next += 1;
            if is_direct {
                return next;
            }
        }
    }
}

impl Session {
    /// Takes frames and refuses the others.
    async fn answer(&mut self, commands: &[String]) {
        let outcome = |command: &String| {
            if command.starts_with('f') {
                ID
            } else {
                WRONGTYPE
            }
        };
        let mut answer: String = commands.iter().map(outcome).collect();
        if commands.len() > 1 {
            let queued = "+QUEUED\r\n".repeat(commands.len());
            answer = format!("+OK\r\n{queued}*{}\r\n{answer}", commands.len());
        }
        self.say(&answer).await;
    }
}

#[tokio::test]
async fn behind_an_outage_frames_go_the_direct_way_while_an_end_is_refused() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=1);
    stage.durable(1).await;
    stage.append_end("end", &other());
    stage.append(2..=2);
    stage.durable(2).await;
    let mut session = stage.accept().await;
    take_all(&mut session, 1..=1).await;
    let next = within(stage.until_direct(&mut session, 3)).await;
    within(async {
        while stage.lane.status.journal().backlog > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut came = within(flight(&mut session)).await;
    assert_eq!(came, ["end"], "once a second");
    session.say(ID).await;
    stage.append(next..=next);
    came = flight(&mut session).await;
    assert_eq!(came, names(next..=next));
    session.say(ID).await;
    stage.durable(next).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_kill_while_an_event_is_refused_repeats_no_frame_and_forgets_no_event() {
    let stage = Stage::new(GATHER).await;
    stage.lane.enter(stage.progress.call);
    stage.append(1..=1);
    stage.durable(1).await;
    stage.append_event("event");
    stage.append(2..=2);
    stage.durable(2).await;
    let mut session = stage.accept().await;
    take_all(&mut session, 1..=1).await;
    let next = within(stage.until_direct(&mut session, 3)).await;
    // Long enough for a note.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stage = stage.restart().await;
    let mut session = stage.accept().await;
    session.stream_holds = vec![(LATER, "f1")];
    assert_eq!(flight(&mut session).await, ["event"]);
    session.say(ID).await;
    stage.append(next..=next);
    take_all(&mut session, next..=next).await;
    stage.finish().await;
}

#[tokio::test]
async fn refused_ends_leave_the_memory_to_frames() {
    let stage = Stage::new(GATHER).await;
    let mut session = stage.accept().await;
    let (ended, large) = (other(), "e".repeat(1 << 20));
    for _ in 0..3 {
        stage.append_end(&large, &ended);
    }
    within(async {
        while stage.lane.queued_bytes() > 0 {
            if let Ok(commands) = timeout(Duration::from_millis(20), flight(&mut session)).await {
                session.answer(&commands).await;
            }
        }
    })
    .await;
    within(stage.until_direct(&mut session, 1)).await;
    stage.problem("call_end").await;
}

#[tokio::test]
async fn what_is_too_large_for_the_journal_is_not_called_safe() {
    let stage = Stage::new(GATHER).await;
    let large = "l".repeat(journal::RECORD_BYTES_MAX);
    stage.append(1..=1);
    stage.append_text(2, &large);
    stage.append(3..=3);
    stage.durable(1).await;
    let mut session = stage.accept().await;
    assert_eq!(flight(&mut session).await, ["f1", &large, "f3"]);
    assert_eq!(stage.progress.durable(), Some(1));
    session.take(3).await;
    stage.durable(3).await;
    stage.finish().await;
}
