//! Rows as they are drawn.

use serde_json::json;

use super::*;
use crate::clock;

const WIDE: Size = Size {
    columns: 160,
    lines: 24,
};

struct Stage {
    rows: Rows,
    now: Now,
}

impl Stage {
    fn new() -> Self {
        Self {
            rows: Rows::new(false),
            now: clock::now(),
        }
    }

    fn frame(&mut self, call: &str, session: u64, seq: u64, sample: i16) {
        let frame = Frame {
            tenant_id: "acme".into(),
            interaction_id: call.into(),
            session,
            seq,
            timestamp_ms: self.now.epoch_ms - 4,
            sample_rate: 8000,
            stream_sid: None,
            track: None,
            media_ms: None,
            pcm: [sample.to_le_bytes(); 160].concat(),
        };
        self.rows.take(&News::Frame(frame), self.now);
    }

    fn event(&mut self, call: &str, kind: &str, rest: serde_json::Value) {
        let serde_json::Value::Object(rest) = rest else {
            panic!("{rest}");
        };
        let event = Event {
            kind: kind.to_owned(),
            tenant_id: "acme".to_owned(),
            interaction_id: call.to_owned(),
            timestamp_ms: 0,
            rest,
        };
        self.rows.take(&News::Event(event), self.now);
    }

    fn pass(&mut self, ms: u64) {
        self.now.instant += Duration::from_millis(ms);
        self.now.epoch_ms += ms;
    }

    /// The lines below the head.
    fn drawn(&mut self, size: Size) -> Vec<String> {
        self.rows.tick(self.now);
        let mut lines = self.rows.draw(size, "audio_stream", self.now);
        lines.drain(..3);
        lines
    }
}

#[test]
fn a_row_shows_level_rate_gaps_and_lag() {
    let mut stage = Stage::new();
    assert_eq!(stage.drawn(WIDE), ["no frames yet"]);
    for seq in 1..=50 {
        stage.frame("call-1", 1, if seq > 40 { seq + 3 } else { seq }, 3277);
        stage.pass(20);
    }
    stage.rows.tick(stage.now);
    let lines = stage.rows.draw(WIDE, "audio_stream", stage.now);
    assert_eq!(
        lines,
        [
            "audio_stream: 1 calls live, 50 frames/s; Ctrl-C ends",
            "",
            "CALL    TENANT      HZ  LEVEL, dBFS        FRAMES/S       SEQ  GAPS       LAG     LAST",
            "call-1  acme      8000  ▮▮▮▮▮▮▮▯▯▯  -20.0      50.0        53     1      4 ms    0.0 s",
        ]
    );
}

#[test]
fn calls_that_end_or_fall_silent_are_shown_as_such_and_dropped() {
    let mut stage = Stage::new();
    stage.frame("ends", 1, 1, 100);
    stage.frame("falls-silent", 1, 1, 100);
    stage.event(
        "ends",
        "call_end",
        json!({"reason": "callended", "session": 1}),
    );
    assert!(stage.drawn(WIDE)[1].contains("▮▮▯▯▯▯▯▯▯▯  -50.3"));
    stage.pass(3000);
    let lines = stage.drawn(WIDE);
    assert!(lines[0].ends_with("  3.0 s  ended: callended"), "{lines:?}");
    assert!(lines[1].ends_with("  3.0 s  silent"), "{lines:?}");
    assert!(lines[1].contains("▯▯▯▯▯▯▯▯▯▯  -90.0"), "{lines:?}");
    stage.rows.colours = true;
    let lines = stage.drawn(WIDE);
    assert!(
        lines.iter().all(|line| line.starts_with("\x1b[2m")),
        "{lines:?}"
    );
    stage.pass(8000);
    assert_eq!(stage.drawn(WIDE).len(), 1, "the ended one is gone");
    stage.pass(50_000);
    stage.rows.colours = false;
    assert_eq!(stage.drawn(WIDE), ["no frames yet"]);
}

#[test]
fn a_new_session_takes_the_row_up() {
    let mut stage = Stage::new();
    stage.frame("call-1", 1, 90, 0);
    stage.event(
        "call-1",
        "call_end",
        json!({"reason": "disconnected", "session": 1}),
    );
    stage.frame("call-1", 2, 1, 0);
    stage.event(
        "call-1",
        "call_end",
        json!({"reason": "late", "session": 1}),
    );
    let lines = stage.drawn(WIDE);
    assert!(
        lines[0].contains("      1     0  "),
        "no gap, no end: {lines:?}"
    );
    assert!(lines[0].ends_with("0.0 s"), "{lines:?}");
    stage.event(
        "call-1",
        "rate_mismatch",
        json!({"declared": 8000, "measured": 16000}),
    );
    assert!(stage.drawn(WIDE)[0].ends_with("  like 16000 Hz, not 8000"));
}

#[test]
fn a_drawing_fits_its_terminal() {
    let mut stage = Stage::new();
    for call in 0..30 {
        stage.frame(
            &format!("a-call-with-a-name-that-is-really-long-{call:04}-ä"),
            1,
            1,
            100,
        );
    }
    stage.frame("\u{1b}[2Jevil\n", 1, 1, 100);
    for (columns, lines) in [(0, 0), (20, 3), (80, 10), (100, 24), (200, 50)] {
        let size = Size { columns, lines };
        let drawn = stage.rows.draw(size, "audio_stream", stage.now);
        assert!(drawn.len() <= lines.max(4), "{size:?}: {}", drawn.len());
        for line in drawn.iter().skip(2).filter(|line| !line.starts_with('…')) {
            assert!(line.chars().count() <= columns, "{size:?}: {line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
    let size = Size {
        columns: 100,
        lines: 24,
    };
    let drawn = stage.rows.draw(size, "audio_stream", stage.now);
    assert_eq!(
        drawn.last().unwrap(),
        "… and 11 more; choose with --call or --tenant"
    );
}
