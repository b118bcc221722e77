//! One simulated call, from its upgrade to its end.
//!
//! Connecting is in [`super::connect`], the words are in [`super::wire`]. Invariant: frame n leaves at the start plus n times the
//! interval, or at once when that is past: lateness never adds up, and no frame is left out.

use std::{io, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::AsyncWriteExt as _,
    select,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    Dialect, Plan,
    connect::Socket,
    summary::tidy,
    wire::{self, Answer, Names},
};

/// What became of one call.
#[derive(Debug)]
pub(super) struct Outcome {
    pub started: bool,
    pub frames: u64,
    pub bytes: u64,
    pub acks: u64,
    /// Frames of this call that were acked.
    pub acked: u64,
    /// Codes of the server's `error` events.
    pub errors: Vec<String>,
    pub end: Result<(), CallError>,
}

/// Why a call did not come through.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("could not connect")]
    Connect(#[source] io::Error),
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("not connected within 10 s")]
    ConnectTimeout,
    #[error("the server refused the call with status {status}: {message}")]
    Refused { status: u16, message: String },
    #[error("the WebSocket handshake failed")]
    Upgrade(#[source] tungstenite::Error),
    #[error(
        "no answer to the start within 10 s: is the token one that the server accepts as a custom client's?"
    )]
    NotStarted,
    #[error("the server reported {code}: {message}")]
    Reported { code: String, message: String },
    #[error("the server closed the call with {0}")]
    Closed(String),
    #[error("the connection broke")]
    Broken(#[source] tungstenite::Error),
    #[error("the server read nothing for 60 s")]
    Stalled,
    #[error("the server did not close the call within 30 s of its end")]
    NotClosed,
    #[error("sent {sent} frames but the last ack was for {acked}")]
    AckShort { sent: u64, acked: u64 },
    #[error("the simulated call ended in a panic")]
    Panicked,
}

/// Plays call `number` (from 0) of the plan.
pub(super) async fn play(plan: &Plan, number: usize) -> Outcome {
    let opened = {
        let _turn = plan.connecting.acquire().await;
        plan.door.open().await
    };
    let socket = match opened {
        Ok(socket) => socket,
        Err(error) => {
            plan.progress.count_ended();
            return Outcome::without_start(error);
        }
    };
    plan.progress.count_connected();
    let mut call = Call {
        plan,
        names: plan.names(number),
        socket,
        before: 0,
        last_ack: 0,
        reported: None,
        audio: Vec::new(),
        outcome: Outcome {
            started: true,
            ..Outcome::default()
        },
    };
    let end = call.run(number).await;
    plan.progress.count_ended();
    let acked = call.acked();
    Outcome {
        // What the server said of the end is worth more than how it then looked from here.
        end: match (end, call.reported) {
            (Err(_), Some((code, message))) => Err(CallError::Reported { code, message }),
            (end, _) => end,
        },
        acked,
        ..call.outcome
    }
}

impl Outcome {
    pub(super) fn without_start(error: CallError) -> Self {
        Self {
            end: Err(error),
            ..Self::default()
        }
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            started: false,
            frames: 0,
            bytes: 0,
            acks: 0,
            acked: 0,
            errors: Vec::new(),
            end: Ok(()),
        }
    }
}

struct Call<'a> {
    plan: &'a Plan,
    names: Names,
    socket: Socket,
    /// The number that the server had given before our first frame, when we continue a session.
    before: u64,
    last_ack: u64,
    /// The server's first `error`.
    reported: Option<(String, String)>,
    /// The frame in hand; kept to use its memory again.
    audio: Vec<u8>,
    outcome: Outcome,
}

/// What ended a wait.
enum Wake {
    Due,
    Heard(Option<Result<Message, tungstenite::Error>>),
}

impl Call<'_> {
    async fn run(&mut self, number: usize) -> Result<(), CallError> {
        self.greet().await?;
        let first = self.plan.first_frame(number, Instant::now());
        for index in 0..self.plan.frames {
            let due = first + self.plan.offset(index);
            self.wait_until(due).await?;
            let late = Instant::now().saturating_duration_since(due);
            self.send_frame(index).await?;
            self.plan.progress.count_frame(late);
        }
        // The last frame has its time, too.
        self.wait_until(first + self.plan.offset(self.plan.frames))
            .await?;
        self.finish().await
    }

    async fn greet(&mut self) -> Result<(), CallError> {
        let plan = self.plan;
        if plan.dialect == Dialect::Exotel {
            self.send(Message::text(wire::CONNECTED)).await?;
        }
        self.send(Message::text(match plan.dialect {
            Dialect::Exotel => wire::exotel_start(
                &self.names,
                plan.sound.rate(),
                plan.encoding,
                &plan.parameters,
            ),
            Dialect::Simple | Dialect::Binary => wire::flat_start(
                &self.names.call_sid,
                plan.tenant.as_deref(),
                plan.sound.rate(),
                plan.encoding,
            ),
        }))
        .await?;
        if !plan.answered {
            return Ok(());
        }
        let until = Instant::now() + START_TIMEOUT;
        loop {
            let heard = timeout_at(until, self.socket.next())
                .await
                .map_err(|_elapsed| CallError::NotStarted)?;
            if let Some(next_seq) = self.hear(heard)?.and_then(|answer| answer.next_seq) {
                self.before = next_seq.saturating_sub(1);
                return Ok(());
            }
        }
    }

    async fn send_frame(&mut self, index: u64) -> Result<(), CallError> {
        let plan = self.plan;
        let mut audio = std::mem::take(&mut self.audio);
        plan.sound
            .frame(index, plan.frame_ms, plan.encoding, &mut audio);
        let message = match plan.dialect {
            Dialect::Exotel => {
                let mut message = String::new();
                let sid = &self.names.stream_sid;
                wire::append_exotel_media(&mut message, sid, index, plan.frame_ms, &audio);
                Message::text(message)
            }
            Dialect::Simple => Message::text(wire::simple_audio(self.before + index + 1, &audio)),
            Dialect::Binary => Message::binary(audio.clone()),
        };
        self.send(message).await?;
        self.outcome.frames += 1;
        self.outcome.bytes += audio.len() as u64;
        self.audio = audio;
        Ok(())
    }

    /// Says that the call is over and waits for the server to close. Exotel's client does not wait: it drops the connection
    /// behind its `stop`, with no close frame. Here only our half is closed, so that unread bytes of the server's cannot
    /// make the system discard what we sent last.
    async fn finish(&mut self) -> Result<(), CallError> {
        let plan = self.plan;
        let goodbye = match plan.dialect {
            Dialect::Exotel => wire::exotel_stop(&self.names, plan.frames),
            Dialect::Simple | Dialect::Binary => wire::END.to_owned(),
        };
        self.send(Message::text(goodbye)).await?;
        let drops = plan.dialect == Dialect::Exotel && !plan.answered;
        if drops && self.socket.get_mut().shutdown().await.is_err() {
            return Ok(());
        }
        match (timeout(CLOSE_TIMEOUT, self.closed()).await, drops) {
            (Ok(closed), _) => closed?,
            (Err(_elapsed), true) => {}
            (Err(_elapsed), false) => return Err(CallError::NotClosed),
        }
        let (sent, acked) = (self.outcome.frames, self.acked());
        if plan.answered && acked < sent {
            return Err(CallError::AckShort { sent, acked });
        }
        Ok(())
    }

    /// Reads until the connection is gone. Normal closure, going away and no close frame at all are ends like any other.
    async fn closed(&mut self) -> Result<(), CallError> {
        loop {
            match self.socket.next().await {
                None | Some(Err(_)) => break,
                Some(Ok(Message::Close(Some(frame)))) if !is_usual(frame.code) => {
                    return Err(closed_with(Some(frame)));
                }
                Some(Ok(Message::Close(_))) => {}
                heard => {
                    self.hear(heard)?;
                }
            }
        }
        match self.reported {
            // Replaced by what was reported.
            Some(_) => Err(closed_with(None)),
            None => Ok(()),
        }
    }

    /// Listens until it is time.
    async fn wait_until(&mut self, due: Instant) -> Result<(), CallError> {
        loop {
            let wake = select! {
                () = sleep_until(due) => Wake::Due,
                heard = self.socket.next() => Wake::Heard(heard),
            };
            match wake {
                Wake::Due => return Ok(()),
                Wake::Heard(heard) => {
                    self.hear(heard)?;
                }
            }
        }
    }

    /// Takes in what came. That the connection ends here is an error: the call is not over.
    fn hear(
        &mut self,
        heard: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<Option<Answer>, CallError> {
        let text = match heard {
            None => return Err(closed_with(None)),
            Some(Err(error)) => return Err(CallError::Broken(error)),
            Some(Ok(Message::Close(frame))) => return Err(closed_with(frame)),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => return Ok(None),
        };
        let answer = Answer::read(&text);
        match &answer {
            Some(Answer { event, seq, .. }) if event == "ack" => {
                self.outcome.acks += 1;
                self.last_ack = self.last_ack.max(*seq);
            }
            Some(Answer {
                event,
                code,
                message,
                ..
            }) if event == "error" => {
                let (code, message) = (tidy(code), tidy(message));
                if self.outcome.errors.len() < ERRORS_MAX {
                    self.outcome.errors.push(code.clone());
                }
                self.reported.get_or_insert((code, message));
            }
            _ => {}
        }
        Ok(answer.filter(|answer| answer.event == "started"))
    }

    fn acked(&self) -> u64 {
        self.last_ack.saturating_sub(self.before)
    }

    async fn send(&mut self, message: Message) -> Result<(), CallError> {
        match timeout(STALL_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => self.why_closed(error).await,
            Err(_elapsed) => Err(CallError::Stalled),
        }
    }

    /// A server that closes says why before: that may still lie unread when the write fails.
    async fn why_closed(&mut self, error: tungstenite::Error) -> Result<(), CallError> {
        loop {
            match timeout(LAST_WORDS_TIMEOUT, self.socket.next()).await {
                Ok(Some(Ok(message))) => {
                    self.hear(Some(Ok(message)))?;
                }
                _ => return Err(CallError::Broken(error)),
            }
        }
    }
}

fn is_usual(code: CloseCode) -> bool {
    matches!(code, CloseCode::Normal | CloseCode::Away)
}

fn closed_with(frame: Option<CloseFrame>) -> CallError {
    CallError::Closed(match frame {
        None => "no reason given".to_owned(),
        Some(frame) => tidy(&format!(
            "{} {}",
            u16::from(frame.code),
            frame.reason.as_str()
        )),
    })
}

/// The server waits up to 2 s for a key set, and for what an earlier connection delivered (contract 3.2, 3.8).
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A server out of room slows custom clients down by not reading (contract 5.4); for ever is too long.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// The final ack needs the frames durable, which a slow disk delays.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// A server closes after its first; a strange one may go on.
const ERRORS_MAX: usize = 8;
