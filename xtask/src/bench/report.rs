//! What a run came to: JSON for machines, a table for the terminal, a page for the docs.

use std::fmt::Write as _;
use std::thread;

use serde_json::{Value, json};

use super::load::{CONNECTIONS, Window};
use super::memory::Once;
use super::settle::Settling;

/// Processor time of one row that the journal commits before an answer, in seconds for 100,000 calls, on machines of this class.
const COMMITTED_ROW_S: f64 = 1.4;
/// What `tab` commits before an answer: the claim, and that the call is answered.
const COMMITTED_ROWS: f64 = 2.0;
/// Those of a call with a key: the charge twice, its grant and its account, an entry and two lines.
const KEY_ROWS: f64 = 7.0;

/// A row with the medians of its windows.
pub(super) struct Measured {
    name: &'static str,
    cpu_s_per_100k: f64,
    rps: f64,
    p50_us: f64,
    p99_us: f64,
    rss_mb: f64,
}

pub(super) struct Report {
    pub(super) rows: Vec<Measured>,
    pub(super) once: Option<Once>,
    /// Of a whole run.
    pub(super) settling: Option<Settling>,
    pub(super) rounds: usize,
    /// Windows in which others used the machine, whatever was tried.
    pub(super) noisy: usize,
}

/// A bar: what may cost how much of what.
struct Bar {
    what: String,
    is: f64,
    at_most: f64,
}

impl Measured {
    pub(super) fn of(name: &'static str, windows: &[Window], rss_mb: f64) -> Self {
        let median = |value: fn(&Window) -> f64| {
            let mut values: Vec<f64> = windows.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Self {
            name,
            cpu_s_per_100k: median(|window| window.cpu_s_per_100k),
            rps: median(|window| window.said.rps),
            p50_us: median(|window| window.said.p50_us),
            p99_us: median(|window| window.said.p99_us),
            rss_mb,
        }
    }
}

impl Report {
    /// One line for each row.
    pub(super) fn json(&self) -> String {
        let round = |value: f64| (value * 1e3).round() / 1e3;
        let row = |row: &Measured| {
            json!({
                "name": row.name,
                "cpu_s_per_100k": round(row.cpu_s_per_100k),
                "rps": row.rps.round(),
                "p50_us": row.p50_us,
                "p99_us": row.p99_us,
                "rss_mb": round(row.rss_mb),
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        let lines: Vec<String> = rows.iter().map(|row| format!("  {row}")).collect();
        format!("[\n{}\n]\n", lines.join(",\n"))
    }

    /// The rows, then the bars that can be told from them.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "| row | CPU s / 100k | req/s on one core | p50 µs | p99 µs | RSS MB |\n|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let Measured { name, cpu_s_per_100k, rps, p50_us, p99_us, rss_mb } = row;
            writeln!(text, "| {name} | {cpu_s_per_100k:.2} | {rps:.0} | {p50_us:.0} | {p99_us:.0} | {rss_mb:.0} |")
                .ok();
        }
        text.push_str("\n| bar | is | at most | |\n|---|---|---|---|\n");
        for Bar { what, is, at_most } in self.bars() {
            let verdict = if is <= at_most { "met" } else { "missed" };
            writeln!(text, "| {what} | {is:.2} | {at_most:.2} | {verdict} |").ok();
        }
        if let Some(Settling { settled_per_s, p50_ms, p99_ms, payments }) = &self.settling {
            writeln!(
                text,
                "\n`pontage facilitator`, one key, anvil with a block a second: **{settled_per_s:.0} payments settled in a second** (the aim is 200; p50 {p50_ms:.0} ms,\n\
                 p99 {p99_ms:.0} ms until the receipt). {payments} payments in all, none lost: books, chain and `ledger audit` agree."
            )
            .ok();
        }
        text
    }

    fn row(&self, name: &str) -> Option<&Measured> {
        self.rows.iter().find(|row| row.name == name)
    }

    fn bars(&self) -> Vec<Bar> {
        let cpu = |name: &str| self.row(name).map(|row| row.cpu_s_per_100k);
        let p99 = |name: &str| self.row(name).map(|row| row.p99_us);
        let mut bars = Vec::new();
        let mut add = |what: &str, is: Option<f64>, at_most: f64| {
            if let Some(is) = is.filter(|is| is.is_finite()) {
                bars.push(Bar { what: what.to_owned(), is, at_most });
            }
        };
        let of = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
        add("CPU of `pontage 402` ÷ `nginx 402`", of(cpu("pontage 402"), cpu("nginx 402")), 1.2);
        for name in ["pontage free", "pontage passthrough"] {
            add(&format!("CPU of `{name}` ÷ `nginx proxy`"), of(cpu(name), cpu("nginx proxy")), 1.0);
            add(&format!("p99 of `{name}` ÷ `nginx proxy`"), of(p99(name), p99("nginx proxy")), 1.0);
        }
        let recovery_s = self.once.as_ref().map(|once| once.recovery_ns / 1e4);
        let parts = cpu("pontage passthrough").zip(recovery_s).map(|(pass, recovery)| {
            let rows = COMMITTED_ROW_S * COMMITTED_ROWS;
            pass + recovery + rows
        });
        add(
            "CPU of `pontage paid` ÷ (passthrough + one recovery + two committed rows)",
            of(cpu("pontage paid"), parts),
            1.2,
        );
        add(
            "CPU of `pontage paid` ÷ `pay-gate facilitator`",
            of(cpu("pontage paid"), cpu("pay-gate facilitator")),
            1.2,
        );
        let key = cpu("pontage passthrough").map(|pass| pass + COMMITTED_ROW_S * KEY_ROWS);
        add("CPU of `pontage key` ÷ (passthrough + seven committed rows)", of(cpu("pontage key"), key), 1.3);
        add("CPU of `pontage pass` ÷ passthrough", of(cpu("pontage pass"), cpu("pontage passthrough")), 1.15);
        for (full, row) in
            [("full passthrough", "pontage passthrough"), ("full key", "pontage key"), ("full pass", "pontage pass")]
        {
            add(&format!("CPU of `{full}` ÷ `{row}`"), of(cpu(full), cpu(row)), 1.1);
        }
        let rate = |name: &str| self.row(name).map(|row| row.rps);
        add(
            "20 × the rate of `express paid` ÷ that of `pontage paid`",
            of(rate("express paid").map(|rate| rate * 20.0), rate("pontage paid")),
            1.0,
        );
        add("CPU of `pontage refused` ÷ `pontage 402`", of(cpu("pontage refused"), cpu("pontage 402")), 1.5);
        let verify = cpu("pontage 402").zip(recovery_s).map(|(challenge, recovery)| challenge + recovery);
        add("CPU of `facilitator verify` ÷ (`pontage 402` + one recovery)", of(cpu("facilitator verify"), verify), 1.3);
        if let Some(once) = &self.once {
            add("cold start to the first 402, ms", Some(once.cold_start_ms), 100.0);
            add("idle memory, MB", Some(once.idle_mb), 25.0);
            add("memory with 5,000 idle connections, MB", Some(once.idle_connections_mb), 100.0);
        }
        bars
    }

    /// docs/bench.md.
    pub(super) fn page(&self) -> String {
        let cores = thread::available_parallelism().map_or(0, usize::from).max(2);
        let recovery = self.once.as_ref().map_or(0.0, |once| once.recovery_ns);
        let noisy = match self.noisy {
            0 => "All windows were clean.".to_owned(),
            noisy => {
                format!("In {noisy} of the windows others used more than a tenth of a core all the same; they count.")
            }
        };
        format!(
            "# Measurements\n\n\
             Written by `cargo xtask bench`; do not edit. **Compare rows of one run only**: absolute figures drift by tens of percent between\n\
             runs and machines. CPU is what the processes of the system under test used for 100,000 requests: the steadiest figure.\n\n\
             {table}\n\
             ## How it is measured\n\n\
             * A Linux machine of {cores} shared x86-64 cores. The system under test has core 0 for itself; the load (`wrk`, {CONNECTIONS} connections with\n\
             \x20 keep-alive), the upstream (nginx, 1 KB answers), the stub facilitator (nginx) and the chain (`pontage devnet`) have core 1.\n\
             * After a warm-up, {rounds} rounds over all rows, one window of two seconds each; the figures are medians. A window in which other\n\
             \x20 processes used more than a tenth of a core is repeated, at most twice. {noisy}\n\
             * CPU is read from the kernel's account of the process and its workers, before and after a window. A window counts only if every\n\
             \x20 answer is what the row says.\n\
             * pontage is built with the release profile and logs warnings and errors alone, as do the others. nginx has one worker.\n\
             * `pontage paid`: every call carries a signature that was never seen before, by one of eight payers of whom a payment was\n\
             \x20 settled; `settlement: tab`, `tab.verify: local` (the whole check but for the read of the chain, which costs a round trip to a\n\
             \x20 node), SQLite with `synchronous=FULL`. Settlement is another row of work: the chain's node is silent during the windows, so that\n\
             \x20 what is on the tab waits. All threads of the process count, the journal's too.\n\
             * `pontage key`: a call that is charged to the balance of an API key, held and captured in two commits: the charge (written twice), its\n\
             \x20 grant, its account, an entry and its two lines. `pontage pass`: a pass for a time, which no journal is asked for. `full …`: the same\n\
             \x20 with 100,000 keys and 5 million entries in the journal.\n\
             * `pontage refused`: expired, for another payee, and malformed payments in turn. None of them costs a signature recovery.\n\
             * `facilitator verify`: `POST /verify` with a signature that was never seen before, by one of eight payers of whom a payment was settled\n\
             \x20 there (`service.verify: local`: the whole check but for the read of the chain).\n\
             * `pay-gate facilitator` and `express paid` send the same payment over again to a facilitator that agrees to everything; neither keeps a\n\
             \x20 store, and the facilitator's own CPU is not counted. `pay-gate mock` looks at no payment.\n\
             * One signature recovery took {recovery:.0} ns; a row that the journal commits is taken as {COMMITTED_ROW_S} s for 100,000.\n\
             * Cold start is from the start of the process with a new journal, to its first 402; the\n\
             \x20 median of five. Idle connections have had one answer each.\n",
            table = self.table(),
            rounds = self.rounds,
        )
    }
}
