//! What is asked of the suite: a few dozen seeds and short proofs by themselves, more through `make chaos`
//! and the environment.

use crate::fault::{self, Kind};

/// Which seeds, and what they may draw.
pub(crate) struct Settings {
    pub(crate) first: u64,
    pub(crate) seeds: u64,
    pub(crate) parallel: usize,
    pub(crate) faults: Vec<Kind>,
    /// The same as it was asked for.
    pub(crate) list: String,
}

impl Settings {
    pub(crate) fn read() -> Self {
        let list = text("CHAOS_FAULTS").unwrap_or_default();
        let only = text("CHAOS_SEED").map(|_| number("CHAOS_SEED", 1));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let parallel = number("CHAOS_PARALLEL", 4 * cores as u64);
        Self {
            first: only.unwrap_or_else(|| number("CHAOS_FIRST", 1)),
            seeds: only.map_or_else(|| number("CHAOS_SEEDS", 36), |_| 1),
            parallel: usize::try_from(parallel).expect("a small number").max(1),
            faults: fault::choice(&list).unwrap_or_else(|error| panic!("CHAOS_FAULTS: {error}")),
            list,
        }
    }
}

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    let Some(text) = text(name) else {
        return default;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test takes no arguments, and this is no setting of the service"
)]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
