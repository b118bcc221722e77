//! Prometheus's text format, version 0.0.4, written by hand: the official crate writes `OpenMetrics`, in which the
//! same counters have other lines.
//!
//! Invariant: the samples of a name stand together, behind its HELP and TYPE.

use std::fmt::{Display, Write as _};

use super::histogram::Tally;

/// What goes with `text/plain`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text so far.
#[derive(Debug, Default)]
pub struct Page(String);

/// A name whose samples follow.
#[derive(Debug)]
pub struct Samples<'p> {
    page: &'p mut Page,
    name: &'static str,
}

impl Page {
    pub fn into_text(self) -> String {
        self.0
    }

    /// The name must end in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.begin(name, "counter", help)
    }

    pub fn gauge(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.begin(name, "gauge", help)
    }

    /// `show` turns values into the unit that the name says.
    pub fn histogram<const N: usize, V: Display>(
        &mut self,
        name: &'static str,
        help: &str,
        tally: &Tally<N>,
        show: impl Fn(u64) -> V,
    ) {
        self.begin(name, "histogram", help);
        let count = tally.count();
        for (bound, total) in tally.cumulative() {
            self.line(format_args!(
                "{name}_bucket{{le=\"{}\"}} {total}",
                show(bound)
            ));
        }
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        self.line(format_args!("{name}_sum {}", show(tally.sum())));
        self.line(format_args!("{name}_count {count}"));
    }

    fn begin(&mut self, name: &'static str, kind: &str, help: &str) -> Samples<'_> {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Samples { page: self, name }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        writeln!(self.0, "{line}").ok();
    }
}

impl Samples<'_> {
    pub fn value(mut self, value: impl Display) {
        self.add(&[], value);
    }

    /// One sample with these labels.
    pub fn add(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let mut mark = '{';
        let mut text = self.name.to_owned();
        for (label, of) in labels {
            text.push(mark);
            text += label;
            text += "=\"";
            text += &of
                .replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n");
            text.push('"');
            mark = ',';
        }
        if mark == ',' {
            text.push('}');
        }
        self.page.line(format_args!("{text} {value}"));
    }

    /// One sample for each value of a label.
    pub fn each<'v, V: Display>(
        mut self,
        label: &str,
        samples: impl IntoIterator<Item = (&'v str, V)>,
    ) {
        for (of, value) in samples {
            self.add(&[(label, of)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_the_format_says() {
        let mut page = Page::default();
        page.counter("frames_total", "Frames.").value(3);
        let group = [("a\"b\\c\nd", 0.5), ("e", 2.0)];
        page.gauge("lag_seconds", "Lag.").each("group", group);
        let mut tally = Tally::new(&[1000, 2500]);
        for value in [900, 1000, 2000, 9000] {
            tally.observe(value);
        }
        page.histogram("wait_seconds", "Wait.", &tally, |ms| {
            std::time::Duration::from_millis(ms).as_secs_f64()
        });
        let expected = r#"# HELP frames_total Frames.
# TYPE frames_total counter
frames_total 3
# HELP lag_seconds Lag.
# TYPE lag_seconds gauge
lag_seconds{group="a\"b\\c\nd"} 0.5
lag_seconds{group="e"} 2
# HELP wait_seconds Wait.
# TYPE wait_seconds histogram
wait_seconds_bucket{le="1"} 2
wait_seconds_bucket{le="2.5"} 3
wait_seconds_bucket{le="+Inf"} 4
wait_seconds_sum 12.9
wait_seconds_count 4
"#;
        assert_eq!(page.into_text(), expected);
    }
}
