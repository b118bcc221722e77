//! Which frames came: every one once, in order, unharmed, under its call's name and its own number.

use std::collections::BTreeMap;

use super::load::{caller::TENANT, stamp::Audio, stamp::Stamp};

/// What was wrong, and how long the rest took.
pub(crate) struct Ledger {
    audio: Audio,
    /// What the calls' names begin with.
    prefix: String,
    calls: Vec<Heard>,
    samples: Vec<u8>,
    pub distinct: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub corrupt: u64,
    pub complaint: Option<String>,
    /// An entry as the server wrote it, for the ceiling.
    pub sample: Vec<u8>,
}

#[derive(Default, Clone)]
struct Heard {
    highest: u32,
    /// Beyond the highest number that came without a hole before it, those that came: none, while all goes well.
    until: u32,
    beyond: std::collections::BTreeSet<u32>,
}

impl Ledger {
    pub(crate) fn new(run: &str, calls: u32, frame_ms: u32) -> Self {
        Self {
            audio: Audio::of(frame_ms),
            prefix: format!("{run}-"),
            calls: vec![Heard::default(); calls as usize],
            samples: Vec::new(),
            distinct: 0,
            doubled: 0,
            reordered: 0,
            corrupt: 0,
            complaint: None,
            sample: Vec::new(),
        }
    }

    /// Takes in the entry's JSON; when the frame was sent, if it is one that had not come before.
    pub(crate) fn enter(&mut self, json: &[u8]) -> Option<u64> {
        let Some(stamp) = self.read(json) else {
            self.corrupt += 1;
            self.complain("no frame of ours", json);
            return None;
        };
        if stamp.number == 1 {
            if let Err(wrong) = contract(json) {
                self.corrupt += 1;
                self.complain(&wrong, json);
            }
            self.sample = json.to_vec();
        }
        let heard = &mut self.calls[stamp.call as usize];
        let heard_late = stamp.number < heard.highest;
        if !heard.take(stamp.number) {
            self.doubled += 1;
            return None;
        }
        self.distinct += 1;
        self.reordered += u64::from(heard_late);
        Some(stamp.sent_ns)
    }

    /// The audio must be what a caller said, and stand under that caller's name with the frame's number.
    fn read(&mut self, json: &[u8]) -> Option<Stamp> {
        let json = std::str::from_utf8(json).ok()?;
        self.samples.clear();
        base64_simd::STANDARD
            .decode_append(text_of(json, "audio")?, &mut self.samples)
            .ok()?;
        let stamp = self.audio.read(&self.samples)?;
        let call = text_of(json, "interaction_id")?.strip_prefix(&self.prefix)?;
        let seq = value_of(json, "seq")?;
        let seq = seq.split(|letter: char| !letter.is_ascii_digit()).next()?;
        let known = (stamp.call as usize) < self.calls.len() && stamp.number > 0;
        (known && call.parse() == Ok(stamp.call) && seq.parse() == Ok(stamp.number))
            .then_some(stamp)
    }

    fn complain(&mut self, wrong: &str, json: &[u8]) {
        self.complaint.get_or_insert_with(|| {
            let shown = &json[..json.len().min(240)];
            format!("{wrong}: {}", String::from_utf8_lossy(shown))
        });
    }
}

impl Heard {
    /// Whether it is new.
    fn take(&mut self, number: u32) -> bool {
        self.highest = self.highest.max(number);
        if number <= self.until || !self.beyond.insert(number) {
            return false;
        }
        while self.beyond.remove(&(self.until + 1)) {
            self.until += 1;
        }
        true
    }
}

/// What stands behind the name. Audio and the names of the bench hold neither quotes nor escapes.
fn value_of<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    let mut from = 0;
    loop {
        let rest = json.get(from..)?;
        let at = rest.find(name)?;
        let (before, behind) = (rest.get(..at)?, rest.get(at + name.len()..)?);
        if before.ends_with('"')
            && let Some(value) = behind.strip_prefix("\"")
        {
            let value = value.trim_start();
            return value.strip_prefix(':').map(str::trim_start);
        }
        from += at + name.len();
    }
}

fn text_of<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    let value = value_of(json, name)?.strip_prefix('"')?;
    value.split('"').next()
}

/// The rest of the record, looked at once for each call.
fn contract(json: &[u8]) -> Result<(), String> {
    let record: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|error| format!("not JSON: {error}"))?;
    let expected = [
        ("tenant_id", TENANT.into()),
        ("sample_rate", super::load::RATE.into()),
        ("encoding", "pcm16".into()),
    ];
    for (name, value) in expected {
        if record.get(name) != Some(&value) {
            return Err(format!("{name} is not {value}"));
        }
    }
    let time = record
        .get("timestamp_ms")
        .and_then(serde_json::Value::as_u64);
    let now = rtaa_ingest::clock::epoch_ms();
    match time {
        Some(time) if now.abs_diff(time) < 600_000 => Ok(()),
        _ => Err("timestamp_ms is not the time".to_owned()),
    }
}
