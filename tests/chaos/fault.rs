//! The faults by name, and their drawing from the seed. How each is carried out is in `inject`.

use crate::random::Random;

/// What can go wrong. The names are those of `CHAOS_FAULTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    // The network between the service and Redis.
    Delay,
    Cut,
    CutReply,
    Late,
    HalfOpen,
    Stall,
    Refuse,
    // Redis itself.
    Freeze,
    Slow,
    Restart,
    Lose,
    KillClients,
    OutOfMemory,
    ReadOnly,
    Password,
    WrongType,
    // The disk of the journal.
    SlowDisk,
    FullDisk,
    // The service.
    Kill,
    Terminate,
}

pub(crate) const ALL: [(Kind, &str); 20] = [
    (Kind::Delay, "delay"),
    (Kind::Cut, "cut"),
    (Kind::CutReply, "cutreply"),
    (Kind::Late, "late"),
    (Kind::HalfOpen, "halfopen"),
    (Kind::Stall, "stall"),
    (Kind::Refuse, "refuse"),
    (Kind::Freeze, "freeze"),
    (Kind::Slow, "slow"),
    (Kind::Restart, "restart"),
    (Kind::Lose, "lose"),
    (Kind::KillClients, "killclients"),
    (Kind::OutOfMemory, "oom"),
    (Kind::ReadOnly, "readonly"),
    (Kind::Password, "password"),
    (Kind::WrongType, "wrongtype"),
    (Kind::SlowDisk, "slowdisk"),
    (Kind::FullDisk, "fulldisk"),
    (Kind::Kill, "kill"),
    (Kind::Terminate, "terminate"),
];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        let known = ALL.iter().find(|(kind, _)| *kind == self);
        known.expect("every kind has a name").1
    }

    fn named(name: &str) -> Option<Self> {
        let known = ALL.iter().find(|(_, known)| *known == name);
        known.map(|(kind, _)| *kind)
    }

    /// Whether it is done with as soon as it was begun, so that it has no length.
    fn is_a_moment(self) -> bool {
        matches!(self, Self::Cut | Self::CutReply | Self::KillClients)
    }
}

/// One fault of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Since the run began.
    pub(crate) at_ms: u64,
    /// How long it lasts; for a late delivery, how late it is.
    pub(crate) for_ms: u64,
    /// How many bytes pass before it strikes.
    pub(crate) after_bytes: u64,
    /// How often it strikes.
    pub(crate) times: u32,
    /// A number of milliseconds that means something else for each kind.
    pub(crate) by_ms: u64,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.kind.name();
        write!(f, "{:>5} ms  {name:<11} for {} ms", self.at_ms, self.for_ms)?;
        write!(
            f,
            ", after {} bytes, {} times, by {} ms",
            self.after_bytes, self.times, self.by_ms
        )
    }
}

/// Which kinds may be drawn: `all`, or names separated by commas, with a minus to leave one out.
pub(crate) fn choice(list: &str) -> Result<Vec<Kind>, String> {
    let words = || {
        list.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
    };
    for word in words() {
        let name = word.trim_start_matches('-');
        if name != "all" && Kind::named(name).is_none() {
            let names: Vec<&str> = ALL.iter().map(|(_, name)| *name).collect();
            return Err(format!(
                "{name} is no fault; known are {}",
                names.join(", ")
            ));
        }
    }
    let all = words().all(|word| word == "all" || word.starts_with('-'));
    let wanted = |name: &str| {
        let meant = all || words().any(|word| word == name);
        meant && !words().any(|word| word.strip_prefix('-') == Some(name))
    };
    let kinds = ALL.iter().filter(|(_, name)| wanted(name));
    Ok(kinds.map(|(kind, _)| *kind).collect())
}

/// One to five faults within `span_ms`.
pub(crate) fn draw(random: &mut Random, kinds: &[Kind], span_ms: u64) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    if kinds.is_empty() {
        return faults;
    }
    for _ in 0..random.range(1, 5) {
        let fault = one(random, kinds, span_ms);
        if faults.iter().all(|other| agree(fault.kind, other.kind)) {
            faults.push(fault);
        }
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn one(random: &mut Random, kinds: &[Kind], span_ms: u64) -> Fault {
    let kind = random.pick(kinds);
    // After 6 s without an answer the service gives a connection up: now and then it is made to.
    let patience_ends = matches!(kind, Kind::HalfOpen | Kind::Stall | Kind::Freeze);
    let for_ms = match kind {
        _ if patience_ends && random.once_in(8) => random.range(6_300, 7_500),
        _ if kind.is_a_moment() => 0,
        Kind::Kill | Kind::Terminate => random.pick(&[0, 0, 100, 400, 900]),
        Kind::Late => random.range(5, 1_500),
        _ => random.range(50, 1_800),
    };
    Fault {
        kind,
        at_ms: random.range(span_ms / 10, span_ms * 8 / 10),
        for_ms,
        after_bytes: match random.range(0, 2) {
            0 => random.range(0, 400),
            1 => random.range(0, 5_000),
            _ => random.range(0, 60_000),
        },
        times: random.small(1, 5),
        by_ms: random.range(1, 150),
    }
}

/// What has been lost on purpose cannot be told from what a killed service lost: these two are not
/// in one run. And Redis loses its data only once.
fn agree(one: Kind, other: Kind) -> bool {
    let lossy = [one, other].contains(&Kind::Lose);
    let same = one == other;
    let killed = [one, other].contains(&Kind::Kill);
    !(lossy && (same || killed))
}

#[test]
fn a_choice_names_what_is_in_it_or_what_is_not() {
    assert_eq!(choice("all").map(|kinds| kinds.len()), Ok(ALL.len()));
    assert_eq!(choice("").map(|kinds| kinds.len()), Ok(ALL.len()));
    assert_eq!(choice("cut, oom"), Ok(vec![Kind::Cut, Kind::OutOfMemory]));
    let without = choice("-kill").expect("a choice");
    assert_eq!(without.len(), ALL.len() - 1);
    assert!(!without.contains(&Kind::Kill));
    assert!(choice("rain").is_err());
}

#[test]
fn what_is_drawn_can_be_judged() {
    let kinds: Vec<Kind> = ALL.iter().map(|(kind, _)| *kind).collect();
    for seed in 0..500 {
        let faults = draw(&mut Random::of(seed, 1), &kinds, 3_000);
        let count = |kind| faults.iter().filter(|fault| fault.kind == kind).count();
        assert!((1..=5).contains(&faults.len()));
        assert!(count(Kind::Lose) <= 1);
        assert!(count(Kind::Lose) == 0 || count(Kind::Kill) == 0);
    }
}
