//! What a caller knows of its own call: every frame it sent, on which connection, how that ended, and what
//! it was told. The oracle holds it against what was published.

use crate::plan::CallPlan;

/// One call as its caller saw it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) plan: CallPlan,
    pub(crate) legs: Vec<Leg>,
    /// Up to this frame it was told that all is durable; 0 before.
    pub(crate) acked: u32,
    /// How many frames it has in all, where it came to its end: a custom client was told that all are durable.
    pub(crate) finished: Option<u32>,
    /// The first frame that was sent after Redis had lost its data.
    pub(crate) safe_from: Option<u32>,
    /// What it was told and must not have been.
    pub(crate) complaints: Vec<String>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Leg {
    /// Which start of the service took it.
    pub(crate) incarnation: usize,
    /// The first frame that it was to carry.
    pub(crate) first: u32,
    /// The last one that was given to the socket; one less than `first` if there was none.
    pub(crate) last: u32,
    /// All of it has reached the service, or will.
    pub(crate) whole: bool,
    pub(crate) safe_from: Option<u32>,
}

impl Ledger {
    pub(crate) fn new(plan: &CallPlan) -> Self {
        Self {
            plan: plan.clone(),
            legs: Vec::new(),
            acked: 0,
            finished: None,
            safe_from: None,
            complaints: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self, incarnation: usize, first: u32) {
        self.legs.push(Leg {
            incarnation,
            first,
            last: first - 1,
            whole: false,
            safe_from: None,
        });
    }

    /// A frame is about to be given to the socket.
    pub(crate) fn sends(&mut self, index: u32, after_loss: bool) {
        let leg = self.legs.last_mut().expect("a connection");
        leg.last = index;
        if after_loss {
            leg.safe_from.get_or_insert(index);
            self.safe_from.get_or_insert(index);
        }
    }

    /// The connection came to its end, and all that was sent arrives.
    pub(crate) fn arrives(&mut self, whole: bool) {
        self.legs.last_mut().expect("a connection").whole = whole;
    }

    /// The newest frame that was sent on any connection.
    pub(crate) fn highest(&self) -> u32 {
        self.legs.iter().map(|leg| leg.last).max().unwrap_or(0)
    }

    /// Takes an ack of everything up to a frame.
    pub(crate) fn hears_ack(&mut self, index: u64) {
        match u32::try_from(index) {
            Ok(index) if index <= self.highest() => {
                if index < self.acked {
                    self.complain(&format!("frame {index} acked after {}", self.acked));
                }
                self.acked = self.acked.max(index);
            }
            _ => self.complain(&format!("frame {index} acked, sent {}", self.highest())),
        }
    }

    pub(crate) fn complain(&mut self, what: &str) {
        self.complaints
            .push(format!("{}: {what}", self.plan.name()));
    }
}
