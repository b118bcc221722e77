//! The backlog over lives of its owner that end at any moment.

use proptest::prelude::*;

use super::*;

/// A step in the life of a backlog.
#[derive(Debug, Clone)]
enum Step {
    Enter(u64),
    /// A pass that stops after so many records, for the reason that the process is killed or Redis goes away.
    /// Redis may refuse the records that are no frames.
    Pass {
        live: u64,
        stops_after: usize,
        refuses_ends: bool,
    },
    /// Redis takes what it has refused.
    Mended,
    /// The next start knows the last note only.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_u64).prop_map(Step::Enter),
            2 => (0..64_u64, 0..20_usize, any::<bool>()).prop_map(|(live, stops_after, refuses_ends)| Step::Pass { live, stops_after, refuses_ends }),
        1 => Just(Step::Mended),
        1 => Just(Step::Restart),
    ]
}

/// Every third record is the end of a session or another record that is no frame.
fn kind(position: u64) -> Kind {
    if position.is_multiple_of(3) {
        Kind::CallEnd
    } else {
        Kind::Frame
    }
}

/// A backlog, its journal, and Redis.
#[derive(Default)]
struct World {
    backlog: Backlog,
    journal: Vec<(u64, u64)>,
    published: Vec<(u64, u64)>,
    /// What Redis has refused, in the owner's memory.
    again: Vec<(u64, u64)>,
}

impl World {
    fn publish(&mut self, call: u64, position: u64) {
        let again = self.again.iter();
        for (_, older) in again.filter(|(of, older)| *of == call && *older < position) {
            self.backlog.set_aside(Position(*older));
        }
        self.published.push((call, position));
        self.backlog
            .published(call, kind(position), Position(position));
    }

    fn mend(&mut self) {
        while !self.again.is_empty() {
            let (call, position) = self.again.remove(0);
            self.publish(call, position);
        }
    }

    fn held(&self) -> BTreeSet<Position> {
        self.again
            .iter()
            .map(|(_, position)| Position(*position))
            .collect()
    }

    fn pass(&mut self, live: u64, stops_after: usize, refuses_ends: bool) {
        let pass = self.backlog.pass(self.held(), |call| live >> call & 1 == 1);
        let due = self.journal.iter().filter(|(call, position)| {
            Position(*position) > pass.begins_after() && pass.takes(*call, Position(*position))
        });
        let due: Vec<_> = due.copied().collect();
        for &(call, position) in due.iter().take(stops_after) {
            if refuses_ends && kind(position) != Kind::Frame {
                self.again.push((call, position));
            } else {
                self.publish(call, position);
            }
        }
        if due.len() <= stops_after {
            let through = Position(self.journal.len() as u64);
            self.backlog.passed(&pass, through, self.held());
        }
    }

    fn restart(&mut self) {
        let note = Note::read(&self.backlog.note(Footing::default()).to_bytes()).unwrap();
        let through = self.backlog.through();
        let (pass, mut found) = (note.pass(), Backlog::default());
        for (call, position) in &self.journal {
            let (kind, position) = (kind(*position), Position(*position));
            if position > through && note.sets_aside(position) {
                found.enter_aside(kind, position);
            } else if position > through && pass.takes(*call, position) {
                found.enter(*call, kind, position);
            }
        }
        self.again.clear();
        self.backlog = Backlog {
            newest: Position(self.journal.len() as u64),
            ..Backlog::default()
        };
        self.backlog.merge(found);
    }
}

proptest! {
    /// Whatever comes in between, every record is published once, and the frames in order within their call.
    #[test]
    fn each_record_is_published_once_and_in_order(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = World::default();
        let everything = Step::Pass { live: 0, stops_after: usize::MAX, refuses_ends: false };
        for step in steps.into_iter().chain([Step::Mended, everything]) {
            match step {
                Step::Enter(call) => {
                    let position = world.journal.len() as u64 + 1;
                    world.journal.push((call, position));
                    world.backlog.enter(call, kind(position), Position(position));
                }
                Step::Pass { live, stops_after, refuses_ends } => world.pass(live, stops_after, refuses_ends),
                Step::Mended => world.mend(),
                Step::Restart => world.restart(),
            }
            let frames = |records: &[(u64, u64)]| records.iter().filter(|(_, position)| kind(*position) == Kind::Frame).count() as u64;
            prop_assert_eq!(world.backlog.frames(), frames(&world.journal) - frames(&world.published));
            prop_assert!(world.backlog.has_more_than(world.again.len()) || world.published.len() + world.again.len() == world.journal.len());
        }
        let World { backlog, journal, published, .. } = world;
        let once: BTreeSet<_> = published.iter().collect();
        prop_assert_eq!(once.len(), published.len());
        prop_assert_eq!(published.len(), journal.len());
        prop_assert!(backlog.is_empty());
        prop_assert_eq!(backlog.through(), Position(journal.len() as u64));
        for call in 0..6 {
            let of_call = published.iter().filter(|(of, position)| *of == call && kind(*position) == Kind::Frame);
            prop_assert!(of_call.is_sorted());
        }
    }
}

#[test]
fn live_calls_go_first() {
    let mut backlog = Backlog::default();
    for (position, call) in [7, 8, 7, 8].into_iter().enumerate() {
        backlog.enter(call, Kind::Frame, Position(position as u64 + 1));
    }
    let live = backlog.pass(BTreeSet::new(), |call| call == 8);
    assert!(live.takes(8, Position(2)) && !live.takes(7, Position(1)));
    assert_eq!(live.begins_after(), Position(1));
    assert!(live.takes(9, Position(5)), "a call that has begun since");
    assert!(
        !live.takes(7, Position(5)),
        "not before its earlier records"
    );
    let all = backlog.pass(BTreeSet::new(), |_| false);
    assert!(all.takes(7, Position(1)) && all.takes(8, Position(2)));
}
