//! The audit's result, printed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use alloy_primitives::B256;
use protocol::Network;
use serde_json::{Value, json};

use super::finding::{Finding, Subject, Word};
use crate::config::Config;
use crate::ledger::print::{Assets, Format, Table, count, counted, csv, short, utc};

/// How far a network was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Compared {
    /// Up to this block.
    To(u64),
    /// Not at all, as was asked for.
    Offline,
    /// Not at all, and why.
    Not(String),
}

/// Everything that an audit found.
#[derive(Debug)]
pub(in crate::ledger) struct Report {
    pub(in crate::ledger) at_ms: u64,
    pub(in crate::ledger) journal: PathBuf,
    pub(in crate::ledger) payments: u64,
    pub(in crate::ledger) entries: u64,
    /// Calls that balances paid for, and accounts.
    pub(in crate::ledger) charges: u64,
    pub(in crate::ledger) accounts: u64,
    /// Number, last entry and hash.
    pub(in crate::ledger) newest_seal: Option<(u64, u64, B256)>,
    pub(in crate::ledger) networks: Vec<(Network, Compared)>,
    /// Every payment that is not plain, and everything else that calls for attention.
    pub(in crate::ledger) findings: Vec<Finding>,
    /// Payments of which there is nothing to say.
    pub(in crate::ledger) plain: Vec<Finding>,
    pub(in crate::ledger) unrelated: Vec<Finding>,
    /// How many payments have each word.
    counts: BTreeMap<Word, u64>,
}

impl Report {
    pub(in crate::ledger) fn new(config: &Config, at_ms: u64) -> Self {
        Self {
            at_ms,
            journal: config.store_path.clone(),
            payments: 0,
            entries: 0,
            charges: 0,
            accounts: 0,
            newest_seal: None,
            networks: Vec::new(),
            findings: Vec::new(),
            plain: Vec::new(),
            unrelated: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Takes the one finding of a payment.
    pub(in crate::ledger) fn take(&mut self, finding: Finding) {
        *self.counts.entry(finding.word).or_default() += 1;
        if finding.word.is_plain() { self.plain.push(finding) } else { self.findings.push(finding) }
    }

    fn differences(&self) -> u64 {
        self.findings.iter().filter(|finding| finding.difference).count() as u64
    }

    /// The chains that could not be read, and why.
    pub(in crate::ledger) fn unread(&self) -> impl Iterator<Item = (Network, &str)> {
        self.networks.iter().filter_map(|(network, compared)| match compared {
            Compared::Not(why) => Some((*network, why.as_str())),
            Compared::To(_) | Compared::Offline => None,
        })
    }

    /// 2 where a chain could not be read, whatever else was found: nobody shall take the rest for the whole.
    pub(in crate::ledger) fn exit_code(&self) -> u8 {
        if self.unread().next().is_some() { 2 } else { u8::from(self.differences() > 0) }
    }

    /// The one line at the end.
    fn summary(&self) -> String {
        let words = self.counts.iter().map(|(word, number)| format!("{} {}", count(*number), word.text()));
        let words: Vec<String> = words.collect();
        let mut parts = match words.as_slice() {
            [] => vec!["0 payments".to_owned()],
            words => vec![format!("{}: {}", counted(self.payments, "payment"), words.join(", "))],
        };
        if self.accounts > 0 {
            parts.push(format!("{}, {}", counted(self.accounts, "account"), counted(self.charges, "charge")));
        }
        if !self.unrelated.is_empty() {
            parts.push(counted(self.unrelated.len() as u64, "unrelated transfer"));
        }
        if self.networks.iter().any(|(_, compared)| *compared == Compared::Offline) {
            parts.push("not compared with the chain".to_owned());
        }
        parts.extend(self.unread().map(|(network, why)| format!("{network} COULD NOT BE READ ({why})")));
        parts.push(counted(self.differences(), "difference"));
        parts.join("; ")
    }

    pub(in crate::ledger) fn print(&self, format: Format, all: bool, assets: &Assets) -> io::Result<()> {
        let out = &mut io::BufWriter::new(io::stdout().lock());
        match format {
            Format::Table => self.print_table(out, all, assets)?,
            Format::Json => writeln!(out, "{:#}", self.json(all, assets))?,
            Format::Csv => {
                self.print_csv(out, all, assets)?;
                // The rows stay rows.
                writeln!(io::stderr(), "{}", self.summary())?;
            }
        }
        out.flush()
    }

    /// What is listed: differences first, then by word.
    fn listed(&self, all: bool) -> Vec<&Finding> {
        let mut listed: Vec<&Finding> = self.findings.iter().collect();
        if all {
            listed.extend(self.plain.iter().chain(&self.unrelated));
        }
        listed.sort_by_key(|finding| (!finding.difference, finding.word));
        listed
    }

    fn print_table(&self, out: &mut impl Write, all: bool, assets: &Assets) -> io::Result<()> {
        writeln!(out, "audit of {} at {} UTC", self.journal.display(), utc(self.at_ms))?;
        let seal = match self.newest_seal {
            Some((id, last, hash)) => format!("sealed up to entry {} by seal {} ({hash})", count(last), count(id)),
            None => "not sealed".to_owned(),
        };
        let entries = if self.entries == 1 { "entry" } else { "entries" };
        writeln!(out, "books: {} {entries}, {seal}", count(self.entries))?;
        self.print_networks(out)?;
        let mut table = Table::new(&["state", "what", "amount", "found", "to do"], &[2]);
        for finding in self.listed(all) {
            let what = format!("{} {}", finding.subject.kind(), finding.subject.id());
            // The gate's tab says so itself.
            let what = if let Subject::Tab(whose) = &finding.subject { format!("tab of {whose}") } else { what };
            let state = if finding.difference { format!("! {}", finding.word.text()) } else { finding.word.text() };
            let amount = finding.amount.map(|amount| assets.amount(amount)).unwrap_or_default();
            table.row(vec![state, short(&what), amount, short(&finding.found), short(&finding.action)]);
        }
        if !table.is_empty() {
            table.print(out)?;
            writeln!(out)?;
        }
        writeln!(out, "{}", self.summary())
    }

    /// How far each network was compared, and an empty line.
    pub(in crate::ledger) fn print_networks(&self, out: &mut impl Write) -> io::Result<()> {
        for (network, compared) in &self.networks {
            match compared {
                Compared::To(block) => writeln!(out, "{network}: compared up to block {}", count(*block))?,
                Compared::Offline => writeln!(out, "{network}: not compared (--offline)")?,
                Compared::Not(why) => writeln!(out, "{network}: NOT COMPARED: {why}")?,
            }
        }
        writeln!(out)
    }

    fn print_csv(&self, out: &mut impl Write, all: bool, assets: &Assets) -> io::Result<()> {
        let head = [
            "state",
            "difference",
            "kind",
            "id",
            "network",
            "asset",
            "amount_atomic",
            "amount",
            "chain_tx",
            "block",
            "found",
            "action",
        ];
        csv(out, &head)?;
        for finding in self.listed(all) {
            let amount = finding.amount;
            let text = |value: Option<String>| value.unwrap_or_default();
            let cells = [
                finding.word.code().to_owned(),
                finding.difference.to_string(),
                finding.subject.kind().to_owned(),
                finding.subject.id(),
                text(finding.network.map(|network| network.to_string())),
                text(amount.map(|amount| amount.asset.address.to_string())),
                text(amount.map(|amount| amount.atomic.to_string())),
                text(amount.map(|amount| assets.plain(amount.atomic, amount.asset))),
                text(finding.chain_tx.map(|hash| hash.to_string())),
                text(finding.block.map(|block| block.to_string())),
                finding.found.clone(),
                finding.action.clone(),
            ];
            csv(out, &cells)?;
        }
        Ok(())
    }

    /// How far each network was compared.
    pub(in crate::ledger) fn networks_json(&self) -> Vec<Value> {
        let network = |(network, compared): &(Network, Compared)| {
            let (block, why) = match compared {
                Compared::To(block) => (Some(*block), None),
                Compared::Offline => (None, Some("offline".to_owned())),
                Compared::Not(why) => (None, Some(why.clone())),
            };
            json!({"network": network.to_string(), "compared_to_block": block, "not_compared": why})
        };
        self.networks.iter().map(network).collect()
    }

    fn json(&self, all: bool, assets: &Assets) -> Value {
        let finding = |finding: &&Finding| {
            let amount = finding.amount;
            json!({
                "state": finding.word.code(),
                "difference": finding.difference,
                "kind": finding.subject.kind(),
                "id": finding.subject.id(),
                "network": finding.network.map(|network| network.to_string()),
                "asset": amount.map(|amount| amount.asset.address.to_string()),
                "amount_atomic": amount.map(|amount| amount.atomic.to_string()),
                "amount": amount.map(|amount| assets.plain(amount.atomic, amount.asset)),
                "chain_tx": finding.chain_tx.map(|hash| hash.to_string()),
                "block": finding.block,
                "found": finding.found,
                "action": finding.action,
            })
        };
        let counts: BTreeMap<&str, u64> = self.counts.iter().map(|(word, number)| (word.code(), *number)).collect();
        let seal =
            self.newest_seal.map(|(id, last, hash)| json!({"id": id, "last_entry": last, "hash": hash.to_string()}));
        json!({
            "at_ms": self.at_ms,
            "journal": self.journal.display().to_string(),
            "entries": self.entries,
            "newest_seal": seal,
            "networks": self.networks_json(),
            "findings": self.listed(all).iter().map(finding).collect::<Vec<_>>(),
            "payments": self.payments,
            "accounts": self.accounts,
            "charges": self.charges,
            "states": counts,
            "unrelated_transfers": self.unrelated.len(),
            "differences": self.differences(),
            "summary": self.summary(),
            "exit_code": self.exit_code(),
        })
    }
}
