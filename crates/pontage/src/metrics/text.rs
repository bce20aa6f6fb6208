//! Prometheus' text form, version 0.0.4.

use std::fmt::{Display, Write as _};

use protocol::print_decimal;

use super::count::{BOUNDS_US, Histogram};

/// A page of metrics in the making.
#[derive(Debug, Default)]
pub(super) struct Text {
    page: String,
    family: &'static str,
}

impl Text {
    /// Starts a family; the samples that follow are its.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        write!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a String takes everything");
    }

    /// One sample of the family. The value prints as an integer or a plain decimal.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.page.push_str(self.family);
        self.page.push_str(suffix);
        let mut open = '{';
        for (name, value) in labels {
            self.page.push(open);
            self.page.push_str(name);
            self.page.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.page.push_str("\\\\"),
                    '"' => self.page.push_str("\\\""),
                    '\n' => self.page.push_str("\\n"),
                    c => self.page.push(c),
                }
            }
            self.page.push('"');
            open = ',';
        }
        if !labels.is_empty() {
            self.page.push('}');
        }
        writeln!(self.page, " {value}").expect("a String takes everything");
    }

    /// A family of its own, in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let (buckets, sum_us) = histogram.read();
        for (at, count) in buckets.iter().enumerate() {
            let bound = BOUNDS_US.get(at).map_or("+Inf".to_owned(), |us| seconds(*us));
            self.sample("_bucket", &[("le", &bound)], count);
        }
        self.sample("_sum", &[], seconds(sum_us));
        self.sample("_count", &[], buckets[BOUNDS_US.len()]);
    }

    pub(super) fn finish(self) -> String {
        self.page
    }
}

fn seconds(us: u64) -> String {
    print_decimal(u128::from(us), 6)
}
