//! The table of what we watch: each quantity with a gate, which a release should hold, and an aim, which was seen to be
//! within reach. Which they are is in [`super::quantities`].

use std::fmt::Write as _;

use super::{Measured, is_ours, number, quantities, spread};
use crate::results::{Results, Spread};

pub(super) struct Row {
    pub quantity: &'static str,
    pub value: Spread,
    pub unit: &'static str,
    /// What stands behind a ratio.
    pub behind: String,
    pub bound: Bound,
}

/// What is wanted: the gate, then the aim.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    AtMost(f64, f64),
    AtLeast(f64, f64),
    /// Less than one: it falls.
    Falls,
    None,
}

/// Frames of ours that did not come through as they should, and connections that the server dropped.
pub(super) fn faults(results: &Results) -> f64 {
    let runs = results.runs.iter();
    runs.filter(|run| is_ours(&run.server))
        .fold(0.0, |faults, run| faults + run.faults())
}

pub(super) fn table(measured: &Measured) -> String {
    let mut text = String::from("| quantity | measured | gate | aim | |\n|---|--:|--:|--:|---|\n");
    for row in quantities::rows(&measured.results) {
        let Row {
            quantity,
            value,
            unit,
            behind,
            bound,
        } = &row;
        let shown = spread(value).map_or_else(
            || "not measured".to_owned(),
            |shown| format!("{shown}{unit}{behind}"),
        );
        let (gate, aim) = bound.shown(unit);
        writeln!(
            text,
            "| {quantity} | {shown} | {gate} | {aim} | {} |",
            row.verdict()
        )
        .ok();
    }
    text
}

impl Row {
    fn verdict(&self) -> &'static str {
        let Some(value) = self.value.median() else {
            return "";
        };
        let holds = |gate: bool, aim: bool| match (gate, aim) {
            (_, true) => "aim holds",
            (true, false) => "holds",
            (false, false) => "**missed**",
        };
        match self.bound {
            Bound::AtMost(gate, aim) => holds(value <= gate, value <= aim),
            Bound::AtLeast(gate, aim) => holds(value >= gate, value >= aim),
            Bound::Falls => holds(false, value < 1.0),
            Bound::None => "",
        }
    }
}

impl Bound {
    fn shown(self, unit: &str) -> (String, String) {
        let shown = |bound: f64| {
            let rounded = (bound - bound.round()).abs() < 1e-9 && bound < 1_000.0;
            let bound = if rounded {
                format!("{bound:.0}")
            } else {
                number(bound)
            };
            let bound = if bound.contains('.') {
                bound.trim_end_matches('0').to_owned()
            } else {
                bound
            };
            format!("{bound}{unit}")
        };
        match self {
            Self::AtMost(gate, aim) | Self::AtLeast(gate, aim) => (shown(gate), shown(aim)),
            Self::Falls => ("falls".to_owned(), "falls".to_owned()),
            Self::None => ("–".to_owned(), "–".to_owned()),
        }
    }
}
