//! The pieces of the way, each by itself, on a thousand frames.

use std::{hint::black_box, sync::Arc, task::Poll, time::Instant};

use bytes::BytesMut;
use rtaa_ingest::{
    call::CallName,
    calls::{Calls, live_call::LiveCall},
    clock,
    frame::{Now, Sender},
    intake::{Facts, Heard, Hints, Intake, Message},
    payload::{Audio, Scratch},
    publisher::{
        Outlet,
        measured::{self, FarEnd, Transaction},
        progress::Progress,
    },
    record::frame::{FrameFacts, FrameFormat, FrameNumbers, FramePattern},
    websocket::{self, WebSocket},
};

use crate::{
    messages::{self, Sound},
    script,
    tape::{Player, Tape},
};

/// How a client brings audio, and how much of it in a message.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    Exotel {
        ms: usize,
    },
    /// A client of our own, with PCM16 in base64.
    Custom,
    Mulaw,
    /// Samples as they are.
    Binary,
}

/// A thousand messages of a connection, and the connection.
pub(crate) struct Spoken {
    messages: Vec<Said>,
    intake: Intake,
    scratch: Scratch,
    now: Now,
}

enum Said {
    Text(String),
    Bytes(Vec<u8>),
}

impl Spoken {
    /// One message is heard before the count begins.
    pub(crate) fn new(client: Client) -> Self {
        let mut sound = Sound::new();
        let mut say = |number| match client {
            Client::Exotel { ms } => {
                Said::Text(messages::exotel_media(0, number, &sound.bytes(16 * ms)))
            }
            Client::Custom => Said::Text(messages::custom_audio(number, &sound.bytes(320))),
            Client::Mulaw => Said::Text(messages::custom_audio(number, &sound.bytes(160))),
            Client::Binary => Said::Bytes(sound.bytes(320)),
        };
        let first = say(1);
        let said = (2..FRAMES + 2).map(say).collect();
        let now = clock::now();
        let mut spoken = Self {
            messages: vec![Said::Text(messages::exotel_start(0)), first],
            intake: Intake::new(facts(client), now),
            scratch: Scratch::default(),
            now,
        };
        if !matches!(client, Client::Exotel { .. }) {
            spoken.messages.remove(0);
        }
        spoken.decode();
        while spoken.intake.poll().is_some() {}
        spoken.messages = said;
        spoken
    }

    /// From the messages to the samples; how many bytes of them.
    pub(crate) fn decode(&mut self) -> usize {
        let mut bytes = 0;
        self.hear(|heard, _| bytes += black_box(heard).audio.pcm.len());
        bytes
    }

    fn hear(&mut self, mut each: impl FnMut(&Heard<'_>, Now)) {
        for message in &self.messages {
            let message = match message {
                Said::Text(text) => Message::Text(text),
                Said::Bytes(bytes) => Message::Binary(bytes),
            };
            self.now.epoch_ms += 20;
            if let Some(heard) = self.intake.handle(message, &mut self.scratch, self.now) {
                each(&heard, self.now);
            }
        }
    }
}

fn facts(client: Client) -> Facts {
    let is_exotel = matches!(client, Client::Exotel { .. });
    let sender = if is_exotel {
        Sender::Exotel
    } else {
        Sender::Custom
    };
    let encoding = match client {
        Client::Mulaw => "mulaw",
        Client::Exotel { .. } | Client::Custom | Client::Binary => "pcm16",
    };
    let mut facts = Facts::new(sender, TENANT, "connection");
    facts.hints = Hints {
        call: Some(messages::call_sid(0)),
        rate: Some("8000".to_owned()),
        encoding: Some(encoding.to_owned()),
        ..Hints::default()
    };
    facts
}

/// A call with a connection's messages for it, and a lane that nobody owns.
pub(crate) struct Speaking {
    spoken: Spoken,
    call: Arc<LiveCall>,
    pattern: FramePattern,
    lane: FarEnd,
}

impl Speaking {
    pub(crate) fn new(client: Client) -> Self {
        let (publisher, lane) = measured::publisher("audio_stream", FrameFormat::Json);
        let calls = Calls::new(publisher, 50);
        let name = CallName {
            tenant_id: TENANT.to_owned(),
            interaction_id: messages::call_sid(0),
        };
        let spoken = Spoken::new(client);
        let opened = calls.open(&name, Sender::Exotel, spoken.now);
        let call = opened.expect("a lane").call;
        call.announce(spoken.now);
        let sid = Some("3357459ca698d8c765bac10b0ec418bl");
        let pattern = call.pattern(calls.publisher(), 8000, sid, None);
        let mut speaking = Self {
            spoken,
            call,
            pattern,
            lane,
        };
        // Twice: the lane has two buffers, which take turns.
        (0..2).for_each(|_| speaking.publish());
        speaking
    }

    /// From the messages to the lane; whatever has gathered is taken off it each fifty frames.
    pub(crate) fn publish(&mut self) {
        let (call, pattern, lane) = (&self.call, &self.pattern, &self.lane);
        let mut frames = 0;
        self.spoken.hear(|heard, now| {
            call.publish(heard, pattern, 8000, now)
                .expect("a live call");
            frames += 1;
            if frames % BATCH == 0 {
                black_box(lane.deliver());
            }
        });
    }
}

/// Audio with a lane for it.
pub(crate) struct Audible {
    pcm: Vec<u8>,
    text: Option<String>,
    pattern: FramePattern,
    outlet: Outlet,
    progress: Arc<Progress>,
    lane: FarEnd,
    read: Instant,
}

impl Audible {
    /// `text`: the audio came as base64.
    pub(crate) fn new(format: FrameFormat, text: bool) -> Self {
        let (publisher, lane) = measured::publisher("audio_stream", format);
        let call = messages::call_sid(0);
        let facts = FrameFacts {
            tenant_id: TENANT,
            interaction_id: &call,
            sample_rate: 8000,
            session: 1_762_500_000_000,
            stream_sid: Some("3357459ca698d8c765bac10b0ec418bl"),
            track: None,
        };
        let pcm = Sound::new().bytes(320);
        let audible = Self {
            text: text.then(|| messages::base64(&pcm)),
            pcm,
            pattern: FramePattern::new(format, &facts),
            outlet: publisher.outlet(&call).expect("a lane"),
            progress: Arc::new(Progress::new(TENANT, &call, 0)),
            lane,
            read: clock::now().instant,
        };
        (0..2).for_each(|_| audible.encode());
        audible
    }

    /// From the samples to the command in the lane's batch.
    pub(crate) fn encode(&self) {
        let audio = Audio {
            pcm: &self.pcm,
            text: self.text.as_deref(),
        };
        for seq in 1..=FRAMES as u64 {
            let numbers = FrameNumbers {
                seq,
                timestamp_ms: 1_762_500_000_000 + 20 * seq,
                media_ms: Some(20 * seq),
            };
            self.outlet.frame(
                &self.pattern,
                &numbers,
                &audio,
                &self.progress,
                false,
                &self.read,
            );
            if seq % BATCH == 0 {
                black_box(self.lane.deliver());
            }
        }
    }
}

/// A WebSocket that has been sent a thousand messages.
pub(crate) struct Socket(WebSocket<Tape>);

impl Socket {
    /// So many of them come with each read.
    pub(crate) fn new(frames_per_read: usize) -> Self {
        let mut sound = Sound::new();
        let frames: Vec<_> = (1..=frames_per_read + FRAMES)
            .map(|number| messages::masked(&messages::exotel_media(0, number, &sound.bytes(320))))
            .collect();
        let player = Arc::new(Player::default());
        (0..=FRAMES).for_each(|_| player.play_on());
        let tape = Tape::new(frames.chunks(frames_per_read).map(<[_]>::concat), player);
        let mut socket = Self(WebSocket::new(tape, &[], 1 << 20));
        socket.read(frames_per_read);
        socket
    }

    /// So many messages; how many bytes they have.
    pub(crate) fn read(&mut self, mut messages: usize) -> usize {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut bytes = 0;
        while messages > 0 {
            let Poll::Ready(Some(mut batch)) = self.0.poll_read(&mut cx) else {
                unreachable!("the tape is long enough");
            };
            while let Some(message) = batch.next_message() {
                if let Ok(websocket::Message::Text(text)) = black_box(message) {
                    bytes += text.len();
                }
                messages -= 1;
            }
            self.0.put_back(batch);
        }
        bytes
    }
}

/// A transaction that Redis has answered.
pub(crate) struct Answered {
    transaction: Transaction,
    replies: BytesMut,
}

impl Answered {
    pub(crate) fn new(frames: usize) -> Self {
        let progress = Arc::new(Progress::new(TENANT, "call", 0));
        Self {
            transaction: Transaction::of_frames(frames as u64, &progress),
            replies: BytesMut::from(script::transaction_replies(frames).as_str()),
        }
    }

    /// Which of the frames are durable; how many bytes they have.
    pub(crate) fn hear(mut self) -> usize {
        let heard = self.transaction.hear(&mut self.replies);
        heard.expect("replies of Redis's")
    }
}

pub(crate) const FRAMES: usize = 1000;
/// Frames that leave together.
const BATCH: u64 = 50;
const TENANT: &str = "someacct1";
