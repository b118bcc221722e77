//! Reads the backlog out of the journal in pieces that travel as one flight each. The reading is done on a thread that
//! may block, one piece ahead of the one that travels.

use std::{borrow::Cow, collections::HashMap, path::Path, sync::Arc};

use parking_lot::Mutex;
use tokio::task::{JoinError, JoinHandle};

use super::approach::Arrived;
use crate::{
    journal::{self, Entry, Position, error::ReadError, fields, reader::Reader},
    publisher::{
        backlog::{Backlog, Note, Pass},
        batch::{Batch, What},
        command::TrimArguments,
        lane::Lane,
    },
    record::Kind,
    telemetry,
};

/// One pass over the journal.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) pass: Arc<Pass>,
    hand: Hand,
    until: Position,
    ready: Option<Piece>,
}

#[derive(Debug)]
enum Hand {
    Idle(Box<Source>),
    Reading(JoinHandle<(Box<Source>, Result<Piece, ReadError>)>),
    Lost,
}

/// What a reading thread needs.
#[derive(Debug)]
struct Source {
    reader: Reader,
    lane: Arc<Lane>,
    pass: Arc<Pass>,
    /// What an earlier process may have published without noting it.
    arrived: Arc<Mutex<Arrived>>,
    /// A record that was read before it was due.
    over: Option<(Position, Record<'static>)>,
}

#[derive(Debug)]
struct Record<'a> {
    kind: Kind,
    call: u64,
    fields: Cow<'a, [u8]>,
}

/// Records to publish together.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) batch: Batch,
    /// Records that were found to be in Redis already.
    pub(super) arrived: Vec<(u64, Kind, Position)>,
    /// Everything up to this one has been read.
    pub(super) through: Position,
    /// There was no more to read.
    pub(super) at_end: bool,
}

impl Piece {
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.arrived.is_empty()
    }
}

impl Replay {
    pub(super) fn begin(
        dir: &Path,
        pass: Pass,
        lane: &Arc<Lane>,
        arrived: &Arc<Mutex<Arrived>>,
    ) -> Result<Self, ReadError> {
        let reader = Reader::after(dir, pass.begins_after())?;
        let pass = Arc::new(pass);
        let source = Source {
            reader,
            lane: Arc::clone(lane),
            pass: Arc::clone(&pass),
            arrived: Arc::clone(arrived),
            over: None,
        };
        Ok(Self {
            pass,
            hand: Hand::Idle(Box::new(source)),
            until: Position::START,
            ready: None,
        })
    }

    /// Has the next piece read, if none is ready or being read.
    pub(super) fn read_on(&mut self, until: Position, limits: Limits) {
        if self.ready.is_some() || matches!(self.hand, Hand::Reading(_)) {
            return;
        }
        self.until = until;
        self.hand = match std::mem::replace(&mut self.hand, Hand::Lost) {
            Hand::Idle(mut source) => Hand::Reading(tokio::task::spawn_blocking(move || {
                let piece = source.piece(until, limits);
                (source, piece)
            })),
            other => other,
        };
    }

    /// How far the last reading could go.
    pub(super) fn until(&self) -> Position {
        self.until
    }

    /// Returns when a piece has been read; never if none is being read.
    ///
    /// # Cancel safety
    /// The reading goes on, and the next call tells of it.
    pub(super) async fn read(&mut self) -> Result<(), ReadFailure> {
        let Hand::Reading(thread) = &mut self.hand else {
            return std::future::pending().await;
        };
        let read = thread.await;
        self.hand = Hand::Lost;
        let (source, piece) = read?;
        self.hand = Hand::Idle(source);
        self.ready = Some(piece?);
        Ok(())
    }

    pub(super) fn ready(&self) -> Option<&Piece> {
        self.ready.as_ref()
    }

    pub(super) fn take(&mut self) -> Option<Piece> {
        self.ready.take()
    }
}

/// Why there is no next piece. Nothing is lost by it: the next pass begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFailure {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the thread that read the journal has died")]
    Lost(#[from] JoinError),
}

/// How large a piece may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) records: u64,
    pub(super) bytes: usize,
}

impl Source {
    fn piece(&mut self, until: Position, limits: Limits) -> Result<Piece, ReadError> {
        let mut press = Press {
            piece: Piece::default(),
            trim: self.lane.trim_arguments(),
            left: limits.records,
        };
        let arrived = &mut *self.arrived.lock();
        if let Some((position, record)) = self.over.take_if(|(position, _)| *position <= until) {
            press.put(&self.lane, arrived, position, &record);
        }
        while self.over.is_none() && press.left > 0 && press.piece.batch.bytes.len() < limits.bytes
        {
            let Some(Entry { position, record }) = self.reader.next()? else {
                press.piece.at_end = true;
                break;
            };
            if !self.pass.takes(record.call, position) {
                press.piece.through = position.min(until);
                continue;
            }
            let record = Record {
                kind: record.kind,
                call: record.call,
                fields: record.fields.into(),
            };
            if position > until {
                self.over = Some((position, record.into_owned()));
            } else {
                press.put(&self.lane, arrived, position, &record);
            }
        }
        press.piece.at_end |= self.over.is_some();
        for notice in self.reader.take_notices() {
            telemetry::journal_notice(&notice.to_string());
        }
        Ok(press.piece)
    }
}

/// A piece in the making.
struct Press {
    piece: Piece,
    /// Sent with the first frame of a piece.
    trim: TrimArguments,
    left: u64,
}

impl Press {
    fn put(&mut self, lane: &Lane, arrived: &mut Arrived, position: Position, record: &Record<'_>) {
        let Record { kind, call, fields } = record;
        let (kind, call) = (*kind, *call);
        self.piece.through = position;
        if arrived.holds(position, kind, fields) {
            self.piece.arrived.push((call, kind, position));
            return;
        }
        let Ok(pairs) = fields::pairs(fields) else {
            telemetry::journal_notice(UNREADABLE);
            return;
        };
        let batch = &mut self.piece.batch;
        batch.open();
        lane.commands
            .begin(&mut batch.bytes, kind, pairs.len(), &self.trim);
        if kind == Kind::Frame {
            self.trim = TrimArguments::NONE;
        }
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(fields);
        let what = What::Journaled {
            kind,
            call,
            position,
        };
        batch.close_entry(start, what);
        self.left = self.left.saturating_sub(1);
    }
}

impl Record<'_> {
    fn into_owned(self) -> Record<'static> {
        Record {
            kind: self.kind,
            call: self.call,
            fields: self.fields.into_owned().into(),
        }
    }
}

/// What an earlier process has left in the journal.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What of it is to be published.
    pub(super) backlog: Backlog,
    /// The newest of the numbers that clients have given, by call.
    pub(super) numbers: HashMap<u64, u64>,
}

/// Looks through what stands behind the cursor. Records behind `until` are not of an earlier process.
pub(super) fn survey(
    dir: &Path,
    released: Position,
    until: Position,
    note: Option<&Note>,
) -> Result<Survey, ReadError> {
    let mut survey = Survey::default();
    let mut reader = Reader::after(dir, released)?;
    let pass = note.map_or_else(Pass::default, Note::pass);
    while let Some(entry) = reader.next()? {
        if entry.position > until {
            break;
        }
        let journal::Record {
            kind, call, number, ..
        } = entry.record;
        survey.backlog.reach(entry.position);
        if note.is_some_and(|note| note.sets_aside(entry.position)) {
            survey.backlog.enter_aside(kind, entry.position);
        } else if pass.takes(call, entry.position) {
            survey.backlog.enter(call, kind, entry.position);
        }
        if let Some(number) = number.checked_sub(1) {
            let newest = survey.numbers.entry(call).or_default();
            *newest = number.max(*newest);
        }
    }
    Ok(survey)
}

const UNREADABLE: &str = "a record whose fields cannot be read was passed over";
