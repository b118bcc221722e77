//! What came out: the streams of frames, ends and events, read back entry by entry and kept as little as the
//! oracle needs. Audio is checked here, byte for byte, while it is at hand; everything else is `oracle`'s.

use std::{collections::HashMap, time::Duration};

use ::redis::{RedisResult, aio::MultiplexedConnection, cmd};
use serde_json::Value;

use crate::{
    audio,
    plan::{CallPlan, Plan},
    redis::{self, Fields},
    store::Admin,
};

/// Everything that was published.
#[derive(Debug)]
pub(crate) struct Published {
    seed: u64,
    calls: HashMap<String, CallPlan>,
    /// In the order of their first frames.
    pub(crate) sessions: Vec<Session>,
    /// The one that a call's frames belonged to last.
    newest: HashMap<u32, usize>,
    pub(crate) frames: u64,
    pub(crate) ends: Vec<End>,
    /// `start` events by call.
    pub(crate) starts: HashMap<u32, u64>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) complaints: Vec<String>,
}

/// The frames of one session, in the order of the stream.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) call: u32,
    pub(crate) number: u64,
    pub(crate) frames: Vec<Seen>,
    pub(crate) crc: crc32fast::Hasher,
    pub(crate) bytes: u64,
    /// When Redis took the last one.
    pub(crate) last_ms: u64,
}

/// One frame: its number, and which of the sender's it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) seq: u64,
    pub(crate) index: u32,
}

/// One `call_end`.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) call: u32,
    pub(crate) session: u64,
    pub(crate) complete: bool,
    /// When Redis took it.
    pub(crate) at_ms: u64,
    pub(crate) record: Value,
}

/// One `gap` event.
#[derive(Debug)]
pub(crate) struct Gap {
    pub(crate) call: u32,
    pub(crate) from_seq: u64,
    pub(crate) to_seq: u64,
    pub(crate) ms: u64,
    pub(crate) reason: String,
}

impl Published {
    pub(crate) fn new(plan: &Plan) -> Self {
        let calls = plan.calls.iter().map(|call| (call.name(), call.clone()));
        Self {
            seed: plan.seed,
            calls: calls.collect(),
            sessions: Vec::new(),
            newest: HashMap::new(),
            frames: 0,
            ends: Vec::new(),
            starts: HashMap::new(),
            gaps: Vec::new(),
            complaints: Vec::new(),
        }
    }

    /// Reads all of it, frames included.
    pub(crate) async fn read(plan: &Plan, admin: &Admin) -> RedisResult<Self> {
        let mut published = Self::new(plan);
        let mut link = admin.connect(Duration::from_mins(1)).await?;
        for key in keys(plan.shards) {
            let read = |published: &mut Self, id: &str, fields: &Fields| {
                published.take_frame(id, fields);
            };
            published.page_through(&mut link, &key, read).await?;
        }
        published.read_records(&mut link).await?;
        Ok(published)
    }

    /// Reads what is beside the frames.
    pub(crate) async fn read_records(
        &mut self,
        link: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        self.page_through(link, "call_end", |published, id, fields| {
            published.take_end(id, &record(fields));
        })
        .await?;
        self.page_through(link, "call_events", |published, _, fields| {
            published.take_event(&record(fields));
        })
        .await
    }

    async fn page_through(
        &mut self,
        link: &mut MultiplexedConnection,
        key: &str,
        take: impl Fn(&mut Self, &str, &Fields),
    ) -> RedisResult<()> {
        let mut after = "-".to_owned();
        loop {
            let page: Vec<(String, Fields)> = cmd("XRANGE")
                .arg(key)
                .arg(&after)
                .arg("+")
                .arg("COUNT")
                .arg(PAGE)
                .query_async(link)
                .await?;
            for (id, fields) in &page {
                take(self, id, fields);
            }
            match page.last() {
                Some((id, _)) if page.len() == PAGE => after = format!("({id}"),
                _ => return Ok(()),
            }
        }
    }

    /// The next entry of a stream of frames.
    pub(crate) fn take_frame(&mut self, id: &str, fields: &Fields) {
        let frame = redis::frame(id, fields);
        self.frames += 1;
        let Some(call) = self.calls.get(&frame.interaction_id) else {
            return self.complain(format!("a frame of {:?}", frame.interaction_id));
        };
        let (name, number) = (&frame.interaction_id, call.number);
        let facts = (frame.tenant_id.as_str(), frame.sample_rate);
        let meant = (call.tenant(), u64::from(call.rate));
        let index = audio::recognise(self.seed, number, call.frame_bytes, &frame.audio);
        let what = format!("{name} session {} seq {}", frame.session, frame.seq);
        let Some(index) = index else {
            return self.complain(format!("{what}: audio that was never sent"));
        };
        if facts != meant || frame.encoding != "pcm16" {
            self.complain(format!("{what}: {facts:?} instead of {meant:?}"));
        }
        let place = self.place(number, frame.session, &what);
        let Some(session) = self.sessions.get_mut(place) else {
            return;
        };
        session.frames.push(Seen {
            seq: frame.seq,
            index,
        });
        session.crc.update(&frame.audio);
        session.bytes += frame.audio.len() as u64;
        session.last_ms = ms(id);
    }

    /// Where the session of a frame is kept. Once a newer one has begun, an older one has nothing more to say.
    fn place(&mut self, call: u32, number: u64, what: &str) -> usize {
        let newest = self.newest.get(&call).copied();
        if let Some(newest) = newest {
            let known = self.sessions[newest].number;
            if known == number {
                return newest;
            }
            if known > number {
                self.complain(format!(
                    "{what} behind a frame of the later session {known}"
                ));
                let same = |session: &Session| session.call == call && session.number == number;
                if let Some(place) = self.sessions.iter().position(same) {
                    return place;
                }
            }
        }
        self.sessions.push(Session {
            call,
            number,
            frames: Vec::new(),
            crc: crc32fast::Hasher::new(),
            bytes: 0,
            last_ms: 0,
        });
        let place = self.sessions.len() - 1;
        if newest.is_none_or(|newest| self.sessions[newest].number < number) {
            self.newest.insert(call, place);
        }
        place
    }

    pub(crate) fn take_end(&mut self, id: &str, record: &Value) {
        let Some(call) = self.call_of(record) else {
            return;
        };
        self.ends.push(End {
            call,
            session: record["session"].as_u64().unwrap_or(0),
            complete: record["complete"] == true,
            at_ms: ms(id),
            record: record.clone(),
        });
    }

    pub(crate) fn take_event(&mut self, record: &Value) {
        let Some(call) = self.call_of(record) else {
            return;
        };
        let number = |name: &str| record[name].as_u64().unwrap_or(u64::MAX);
        match record["type"].as_str() {
            Some("start") => *self.starts.entry(call).or_default() += 1,
            Some("gap") => self.gaps.push(Gap {
                call,
                from_seq: number("from_seq"),
                to_seq: number("to_seq"),
                ms: number("ms"),
                reason: record["reason"].as_str().unwrap_or_default().to_owned(),
            }),
            Some("stop") => {}
            _ => self.complain(format!("nobody asked for {record}")),
        }
    }

    fn call_of(&mut self, record: &Value) -> Option<u32> {
        let name = record["interaction_id"].as_str().unwrap_or_default();
        let call = self.calls.get(name).map(|call| call.number);
        if call.is_none() {
            self.complain(format!("nobody knows the call of {record}"));
        }
        call
    }

    fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }
}

/// The keys of the frames' streams.
pub(crate) fn keys(shards: u32) -> Vec<String> {
    if shards <= 1 {
        return vec!["audio_stream".to_owned()];
    }
    (0..shards)
        .map(|shard| format!("audio_stream:{{{shard}}}"))
        .collect()
}

fn record(fields: &Fields) -> Value {
    let data = fields.iter().find(|(name, _)| name == "data");
    let (_, data) = data.expect("an entry has the field `data`");
    serde_json::from_slice(data).expect("`data` is JSON")
}

/// The time in an entry's id.
fn ms(id: &str) -> u64 {
    let time = id.split('-').next().and_then(|time| time.parse().ok());
    time.expect("an id begins with a time")
}

const PAGE: usize = 1_000;
