//! A batch on its way to Redis: what of it must still be written, and what the replies say.
//!
//! Several commands travel as one transaction, so that Redis takes all of them or none: a refusal in the middle
//! (out of memory, suddenly a replica) cannot let later frames overtake earlier ones, and a connection that breaks
//! leaves no half of a batch behind. It costs Redis nothing: a transaction is answered and wakes its consumers once.
//! A batch of one goes as it is. Should Redis refuse MULTI itself, the commands behind it are taken one by one.

use bytes::{Buf as _, BytesMut};
use redis::RedisError;

use crate::{
    journal::Position,
    publisher::{
        batch::{Batch, EXEC, What},
        counts::Confirmed,
        fence::Marks,
        reply::{self, EntryId, Reply},
    },
    record::Kind,
};

/// The batch and how far it has come.
#[derive(Debug)]
pub(super) struct Flight {
    batch: Batch,
    /// The part of the batch's bytes that travels.
    from: usize,
    written: usize,
    stage: Stage,
    /// It carries what was refused or not confirmed before.
    repeated: bool,
    /// By command: whether Redis took it.
    taken: Vec<bool>,
    /// The newest entries of it. They say that all before them is known, so they wait for the flight to be sorted.
    marks: Marks,
    refusal: Option<Refusal>,
    frame_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Multi,
    /// The reply to this command, which is only that it has been queued.
    Queued(usize),
    Exec,
    /// The outcome of this command.
    Outcome(usize),
    Over,
}

/// Why a command was refused, in Redis's own words; of which kind it was, if it was a record.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) error: String,
    pub(super) kind: Option<Kind>,
}

/// What a reply tells.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing about any command yet.
    Noted,
    /// The outcome of one command.
    Outcome(usize, Reply),
}

impl Flight {
    pub(super) fn new(mut batch: Batch) -> Self {
        let commands = batch.entries.len();
        let (from, stage) = if commands > 1 {
            batch.bytes.extend_from_slice(EXEC);
            (0, Stage::Multi)
        } else {
            (batch.start(0), Stage::Outcome(0))
        };
        Self {
            from,
            written: 0,
            repeated: false,
            stage,
            taken: vec![false; commands],
            marks: Marks::default(),
            refusal: None,
            frame_refused: false,
            batch,
        }
    }

    /// The same, which carries what was refused or not confirmed before.
    pub(super) fn repeated(self) -> Self {
        Self {
            repeated: true,
            ..self
        }
    }

    pub(super) fn is_repeated(&self) -> bool {
        self.repeated
    }

    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// What must still be written.
    pub(super) fn unwritten(&self) -> &[u8] {
        self.batch
            .bytes
            .get(self.from + self.written..)
            .unwrap_or_default()
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.written += bytes;
    }

    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    pub(super) fn what(&self, command: usize) -> Option<&What> {
        self.batch.entries.get(command).map(|entry| &entry.what)
    }

    /// Notes the entry that a command has become.
    pub(super) fn mark(&mut self, command: usize, id: EntryId) {
        if let Some(kind) = self.what(command).and_then(What::kind) {
            self.marks.advance(kind, id);
        }
    }

    /// Calls one command durable.
    pub(super) fn confirm(&self, command: usize) {
        if let Some(what) = self.what(command) {
            what.confirm(self.batch.fields(command).len());
        }
    }

    /// Whether Redis may have taken something that it has not told us of.
    pub(super) fn is_doubtful(&self) -> bool {
        // A transaction that has not left whole has not been carried out, unless MULTI was refused.
        let whole = self.unwritten().is_empty();
        !self.is_over() && (whole || (self.stage != Stage::Multi && self.refusal.is_some()))
    }

    /// Whether any of it is more than a chore.
    pub(super) fn is_record(&self) -> bool {
        self.batch
            .entries
            .iter()
            .any(|entry| entry.what.kind().is_some())
    }

    /// Why commands were refused: the first of them.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Whether a frame was refused: those behind it may be taken, but are not to be called durable before it is.
    pub(super) fn frame_refused(&self) -> bool {
        self.frame_refused
    }

    /// Takes the next reply off `replies`; `None` while it is not all there.
    pub(super) fn take(&mut self, replies: &mut BytesMut) -> Result<Option<Answer>, RedisError> {
        if self.stage == Stage::Exec
            && let Some((outcomes, length)) = reply::read_array_head(replies)
        {
            replies.advance(length);
            self.stage = if outcomes == self.taken.len() {
                self.outcome_from(0)
            } else {
                Stage::Over
            };
            return Ok(Some(Answer::Noted));
        }
        let Some((reply, length)) = reply::read(replies)? else {
            return Ok(None);
        };
        replies.advance(length);
        Ok(Some(self.apply(reply)))
    }

    fn apply(&mut self, reply: Reply) -> Answer {
        if let Reply::Error(error) = &reply {
            let kind = match self.stage {
                Stage::Queued(command) | Stage::Outcome(command) => {
                    self.what(command).and_then(What::kind)
                }
                _ => None,
            };
            self.frame_refused |= kind == Some(Kind::Frame);
            self.refusal.get_or_insert_with(|| Refusal {
                error: error.clone(),
                kind,
            });
        }
        match self.stage {
            Stage::Multi => self.stage = Stage::Queued(0),
            Stage::Queued(command) => {
                let next = command + 1;
                self.stage = if next < self.taken.len() {
                    Stage::Queued(next)
                } else {
                    Stage::Exec
                };
                if matches!(reply, Reply::Id(_) | Reply::Done) {
                    return self.outcome(command, reply);
                }
            }
            // Not an array: Redis has thrown all of it away.
            Stage::Exec | Stage::Over => self.stage = Stage::Over,
            Stage::Outcome(command) => {
                self.stage = self.outcome_from(command + 1);
                return self.outcome(command, reply);
            }
        }
        Answer::Noted
    }

    fn outcome(&mut self, command: usize, reply: Reply) -> Answer {
        if let Some(taken) = self.taken.get_mut(command) {
            *taken = !matches!(reply, Reply::Error(_));
        }
        Answer::Outcome(command, reply)
    }

    fn outcome_from(&self, command: usize) -> Stage {
        if command < self.taken.len() {
            Stage::Outcome(command)
        } else {
            Stage::Over
        }
    }

    /// Sorts it: what Redis has taken, and what has to be sent again. Frames that are taken are given to `confirmed`.
    pub(super) fn finish(self, confirmed: &mut Confirmed) -> Landed {
        let Self {
            batch,
            taken,
            marks,
            ..
        } = self;
        let mut landed = Landed {
            marks,
            ..Landed::default()
        };
        for (index, (entry, taken)) in batch.entries.iter().zip(taken).enumerate() {
            let kind = entry.what.kind();
            if !taken && kind.is_some() {
                landed.again.copy(&batch, index);
            } else if let What::Journaled {
                kind,
                call,
                position,
            } = entry.what
            {
                landed.published.push((call, kind, position));
            } else if kind.is_some() {
                landed.freed += batch.command(index).len();
                confirmed.take(&entry.what);
            }
        }
        landed.spare = batch;
        landed
    }
}

/// A flight that is over, or was broken off.
#[derive(Debug, Default)]
pub(super) struct Landed {
    /// What Redis has not taken, or has not said so, in order.
    pub(super) again: Batch,
    /// Records of the journal that it has taken.
    pub(super) published: Vec<(u64, Kind, Position)>,
    /// The newest entries that it has become.
    pub(super) marks: Marks,
    /// Bytes that the lane need not count any more.
    pub(super) freed: usize,
    /// The buffer, for its next use.
    pub(super) spare: Batch,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::moments::Landing;

    fn flight(commands: usize) -> Flight {
        let mut batch = Batch::default();
        for command in 0..commands {
            batch.open();
            batch
                .bytes
                .extend_from_slice(format!("<{command}>").as_bytes());
            let event = What::Journaled {
                kind: Kind::CallEvent,
                call: 0,
                position: Position(1),
            };
            batch.close_entry(batch.bytes.len(), event);
        }
        Flight::new(batch)
    }

    /// Feeds the replies; the commands that were taken, and what is to be sent again.
    fn play(commands: usize, replies: &str) -> (Vec<usize>, String) {
        let mut flight = flight(commands);
        let mut replies = BytesMut::from(replies);
        let mut taken = Vec::new();
        while let Some(answer) = flight.take(&mut replies).unwrap() {
            if let Answer::Outcome(command, Reply::Id(_)) = answer {
                taken.push(command);
            }
        }
        assert!(flight.is_over() && replies.is_empty());
        let mut confirmed = Confirmed::at(Landing::default());
        let again = flight.finish(&mut confirmed).again;
        let text = (0..again.entries.len())
            .map(|index| String::from_utf8_lossy(again.command(index)).into_owned());
        (taken, text.collect())
    }

    const ID: &str = "$3\r\n5-1\r\n";
    const QUEUED: &str = "+QUEUED\r\n";

    #[test]
    fn one_command_travels_alone_and_several_as_a_transaction() {
        assert_eq!(flight(1).unwritten(), b"<0>");
        assert_eq!(
            flight(2).unwritten(),
            b"*1\r\n$5\r\nMULTI\r\n<0><1>*1\r\n$4\r\nEXEC\r\n"
        );
    }

    #[test]
    fn every_outcome_is_told_by_command() {
        assert_eq!(play(1, ID), (vec![0], String::new()));
        assert_eq!(play(1, "-OOM no\r\n"), (vec![], "<0>".into()));
        let whole = format!("+OK\r\n{QUEUED}{QUEUED}*2\r\n{ID}{ID}");
        assert_eq!(play(2, &whole), (vec![0, 1], String::new()));
        let one_fails = format!("+OK\r\n{QUEUED}{QUEUED}*2\r\n-WRONGTYPE no\r\n{ID}");
        assert_eq!(play(2, &one_fails), (vec![1], "<0>".into()));
    }

    #[test]
    fn a_refusal_while_queueing_throws_all_away() {
        let refused = format!("+OK\r\n{QUEUED}-OOM no\r\n{QUEUED}-EXECABORT because\r\n");
        assert_eq!(play(3, &refused), (vec![], "<0><1><2>".into()));
        assert_eq!(
            play(2, &format!("+OK\r\n{QUEUED}{QUEUED}*-1\r\n")),
            (vec![], "<0><1>".into())
        );
    }

    #[test]
    fn without_multi_the_commands_stand_for_themselves() {
        let plain = format!("-NOPERM no multi\r\n{ID}-OOM no\r\n-ERR EXEC without MULTI\r\n");
        assert_eq!(play(2, &plain), (vec![0], "<1>".into()));
    }
}
