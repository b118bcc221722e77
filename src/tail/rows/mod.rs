//! One live row per call: what is known of each, drawn as text. Terminals are `screen.rs`'s subject.
//!
//! Invariants: rows stand in the order in which their calls were first seen; a call that has ended or fallen silent is shown
//! as such for a while and then dropped; there are at most [`ROWS_MAX`].

use std::{
    collections::HashMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use super::{
    level::{FLOOR, dbfs, power},
    news::{Event, News},
};
use crate::{
    frame::{Now, Shown},
    published::Frame,
};

/// All rows.
#[derive(Debug, Default)]
pub struct Rows {
    /// By tenant, then by call.
    calls: HashMap<String, HashMap<String, Row>>,
    count: usize,
    seen: u64,
    frames: u64,
    colours: bool,
    /// Of calls for which there was no row.
    untold: u64,
}

/// How large the drawing may be, in characters.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub columns: usize,
    pub lines: usize,
}

#[derive(Debug)]
struct Row {
    number: u64,
    session: u64,
    sample_rate: u32,
    seq: u64,
    gaps: u64,
    lag_ms: u64,
    last: Instant,
    /// The loudest frame since the last drawing.
    power: Option<f64>,
    level: f64,
    /// Frames since `counted_from`.
    counted: u32,
    counted_from: Instant,
    per_second: f64,
    ended: Option<Instant>,
    note: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Live,
    Silent,
    Ended,
}

impl Rows {
    pub fn new(colours: bool) -> Self {
        Self {
            colours,
            ..Self::default()
        }
    }

    /// Frames that were shown.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Calls that were seen.
    pub fn calls(&self) -> u64 {
        self.seen
    }

    pub fn take(&mut self, news: &News<'_>, now: Now) {
        match news {
            News::Frame(frame) => self.take_frame(frame, now),
            News::Event(event) => self.take_event(event, now),
        }
    }

    fn take_frame(&mut self, frame: &Frame<'_>, now: Now) {
        self.frames += 1;
        let Some(row) = self.row(frame, now) else {
            self.untold += 1;
            return;
        };
        if row.session == frame.session && row.ended.is_none() {
            row.gaps += u64::from(frame.seq > row.seq.saturating_add(1));
        } else {
            row.gaps = 0;
            row.note.clear();
        }
        row.session = frame.session;
        row.ended = None;
        row.seq = frame.seq;
        row.sample_rate = frame.sample_rate;
        row.lag_ms = now.epoch_ms.saturating_sub(frame.timestamp_ms);
        row.last = now.instant;
        row.counted += 1;
        let power = power(&frame.pcm);
        row.power = Some(row.power.unwrap_or(0.0).max(power));
    }

    fn row(&mut self, frame: &Frame<'_>, now: Now) -> Option<&mut Row> {
        let known = self
            .calls
            .get(&*frame.tenant_id)
            .is_some_and(|calls| calls.contains_key(&*frame.interaction_id));
        if !known {
            if self.count >= ROWS_MAX {
                return None;
            }
            self.seen += 1;
            self.count += 1;
            let row = Row {
                number: self.seen,
                session: frame.session,
                sample_rate: frame.sample_rate,
                // The first that is seen need not be the first there was.
                seq: frame.seq.saturating_sub(1),
                gaps: 0,
                lag_ms: 0,
                last: now.instant,
                power: None,
                level: FLOOR,
                counted: 0,
                counted_from: now.instant,
                per_second: 0.0,
                ended: None,
                note: String::new(),
            };
            let calls = self.calls.entry(frame.tenant_id.to_string()).or_default();
            calls.insert(frame.interaction_id.to_string(), row);
        }
        self.calls
            .get_mut(&*frame.tenant_id)?
            .get_mut(&*frame.interaction_id)
    }

    fn take_event(&mut self, event: &Event, now: Now) {
        let calls = self.calls.get_mut(&event.tenant_id);
        let Some(row) = calls.and_then(|calls| calls.get_mut(&event.interaction_id)) else {
            return;
        };
        let text = |name: &str| match event.rest.get(name) {
            Some(serde_json::Value::String(text)) => Shown(text).to_string(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        match event.kind.as_str() {
            "call_end" => {
                // The end of a session that another has followed says nothing of that one.
                let session = event
                    .rest
                    .get("session")
                    .and_then(serde_json::Value::as_u64);
                if session.is_none_or(|session| session >= row.session) {
                    row.ended = Some(now.instant);
                    row.note = format!("ended: {}", text("reason"));
                }
            }
            "rate_mismatch" => {
                row.note = format!("like {} Hz, not {}", text("measured"), text("declared"));
            }
            "gap" => row.note = format!("gap of {} ms: {}", text("ms"), text("reason")),
            "dtmf" => row.note = format!("dtmf {}", text("digit")),
            // A stop is followed by the end.
            "start" | "stop" => {}
            other => row.note = Shown(other).to_string(),
        }
    }

    /// Brings levels and rates up to date, and drops what is over. To be called before each drawing.
    pub fn tick(&mut self, now: Now) {
        for calls in self.calls.values_mut() {
            calls.retain(|_, row| !row.is_over(now.instant));
            for row in calls.values_mut() {
                row.tick(now.instant);
            }
        }
        self.calls.retain(|_, calls| !calls.is_empty());
        self.count = self.calls.values().map(HashMap::len).sum();
    }

    /// The drawing, a string per line.
    pub fn draw(&self, size: Size, title: &str, now: Now) -> Vec<String> {
        let mut rows: Vec<(&str, &str, &Row)> = self
            .calls
            .iter()
            .flat_map(|(tenant, calls)| {
                let tenant = tenant.as_str();
                calls
                    .iter()
                    .map(move |(call, row)| (tenant, call.as_str(), row))
            })
            .collect();
        rows.sort_unstable_by_key(|(_, _, row)| row.number);
        let is_live = |(_, _, row): &&(&str, &str, &Row)| row.life(now.instant) == Life::Live;
        let per_second: f64 = rows
            .iter()
            .filter(is_live)
            .map(|(_, _, row)| row.per_second)
            .sum();
        let mut lines = vec![
            format!(
                "{title}: {} calls live, {per_second:.0} frames/s; Ctrl-C ends",
                rows.iter().filter(is_live).count(),
            ),
            String::new(),
        ];
        let room = size.lines.saturating_sub(lines.len() + 2);
        let shown = rows.len().min(room);
        let names = |longest: usize, least: usize| longest.clamp(least, NAME_COLUMNS_MAX);
        let visible = || rows.iter().take(shown);
        let calls = visible().map(|(_, call, _)| call.chars().count()).max();
        let tenants = visible().map(|(tenant, _, _)| tenant.chars().count()).max();
        let spare = size.columns.saturating_sub(FIXED_COLUMNS).max(18);
        let tenants = names(tenants.unwrap_or(0), 6).min(spare / 3);
        let calls = names(calls.unwrap_or(0), 4).min(spare - tenants);
        let head = format!(
            "{:calls$}  {:tenants$}  {:>6}  {:17}  {:>8}  {:>8}  {:>4}  {:>8}  {:>7}",
            "CALL", "TENANT", "HZ", "LEVEL, dBFS", "FRAMES/S", "SEQ", "GAPS", "LAG", "LAST"
        );
        lines.push(self.paint(BOLD, cut(&head, size.columns)));
        for (tenant, call, row) in visible() {
            let life = row.life(now.instant);
            let text = row.draw(
                (&fit(call, calls), calls),
                (&fit(tenant, tenants), tenants),
                life,
                now,
            );
            let text = cut(&text, size.columns);
            lines.push(match life {
                Life::Live if row.gaps > 0 || row.note.starts_with("like ") => {
                    self.paint(YELLOW, text)
                }
                Life::Live => text,
                Life::Silent | Life::Ended => self.paint(DIM, text),
            });
        }
        let more = rows.len() - shown;
        if more > 0 {
            lines.push(format!("… and {more} more; choose with --call or --tenant"));
        } else if rows.is_empty() {
            lines.push("no frames yet".to_owned());
        }
        if self.untold > 0 {
            lines.push(format!(
                "{} frames are of calls for which there is no row",
                self.untold
            ));
        }
        lines
    }

    fn paint(&self, code: &str, text: String) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text
        }
    }
}

impl Row {
    fn life(&self, now: Instant) -> Life {
        if self.ended.is_some() {
            Life::Ended
        } else if now.saturating_duration_since(self.last) >= SILENT_AFTER {
            Life::Silent
        } else {
            Life::Live
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let passed = |since: Instant| now.saturating_duration_since(since);
        self.ended.is_some_and(|at| passed(at) >= DROP_ENDED_AFTER)
            || passed(self.last) >= DROP_SILENT_AFTER
    }

    fn tick(&mut self, now: Instant) {
        let counted = now.saturating_duration_since(self.counted_from);
        if counted >= COUNT_OVER {
            self.per_second = f64::from(self.counted) / counted.as_secs_f64();
            (self.counted, self.counted_from) = (0, now);
        }
        match self.power.take() {
            Some(power) => self.level = dbfs(power),
            // Frames may be half a second long, and more.
            None if now.saturating_duration_since(self.last) >= COUNT_OVER => self.level = FLOOR,
            None => {}
        }
    }

    fn draw(&self, call: (&str, usize), tenant: (&str, usize), life: Life, now: Now) -> String {
        let ((call, calls), (tenant, tenants)) = (call, tenant);
        let since = now
            .instant
            .saturating_duration_since(self.last)
            .as_secs_f64();
        let mut text = format!(
            "{call:calls$}  {tenant:tenants$}  {:>6}  {} {:>6.1}  {:>8.1}  {:>8}  {:>4}  {:>5} ms  {since:>5.1} s",
            self.sample_rate,
            meter(self.level),
            self.level,
            self.per_second,
            self.seq,
            self.gaps,
            self.lag_ms,
        );
        if !self.note.is_empty() {
            // Text that is written into a string always fits.
            write!(text, "  {}", self.note).ok();
        } else if life == Life::Silent {
            text.push_str("  silent");
        }
        text
    }
}

/// Ten steps of 6 dB, which is what a loud and a soft voice are apart.
fn meter(level: f64) -> String {
    let steps = (1..=10).filter(|step| level >= f64::from(step * 6 - 66));
    let on = steps.count();
    ["▮".repeat(on), "▯".repeat(10 - on)].concat()
}

/// A name in a column of this width.
fn fit(name: &str, columns: usize) -> String {
    let name = Shown(name).to_string();
    if name.chars().count() <= columns {
        return name;
    }
    let kept: String = name.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect()
}

/// More calls than an instance takes by default, twice over; a row is about 300 bytes.
pub const ROWS_MAX: usize = 20_000;
const SILENT_AFTER: Duration = Duration::from_secs(3);
const DROP_SILENT_AFTER: Duration = Duration::from_mins(1);
const DROP_ENDED_AFTER: Duration = Duration::from_secs(10);
const COUNT_OVER: Duration = Duration::from_secs(1);
const NAME_COLUMNS_MAX: usize = 40;
/// Of all but the names, with a note of medium length.
const FIXED_COLUMNS: usize = 96;
const BOLD: &str = "1";
const DIM: &str = "2";
const YELLOW: &str = "33";

#[cfg(test)]
mod tests;
