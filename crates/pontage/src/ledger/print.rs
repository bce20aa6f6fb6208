//! Tables, CSV and numbers, as an operator can paste them into a report.

use std::collections::BTreeMap;
use std::io::{self, Write};

use alloy_primitives::U256;
use clap::ValueEnum;
use ledger::Unit;
use protocol::{Amount, Asset, AssetInfo};

use crate::config::Config;

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns for people; ids are shortened.
    Table,
    /// JSON; ids in full, amounts as text.
    Json,
    /// CSV by RFC 4180 with a header; ids in full.
    Csv,
}

/// Networks whose native coin is ether.
const ETHER: [u64; 7] = [1, 10, 8453, 42161, 84532, 421_614, 11_155_111];

/// What the configuration knows of the assets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assets(BTreeMap<Asset, (String, AssetInfo)>);

impl Assets {
    pub(crate) fn new(config: &Config) -> Self {
        let tokens = config.networks.iter().flat_map(|network| &network.tokens);
        Self(tokens.map(|token| (token.asset, (name(token), token.clone()))).collect())
    }

    /// An asset as payers sign for it, where the configuration has it.
    pub(super) fn info(&self, asset: Asset) -> Option<&AssetInfo> {
        self.0.get(&asset).map(|(_, token)| token)
    }

    /// Name and decimals, where they are known.
    fn known(&self, asset: Asset) -> Option<(&str, u8)> {
        if asset == Asset::native(asset.network) {
            let ether = ETHER.contains(&asset.network.chain_id);
            return Some((if ether { "ETH" } else { "native coin" }, 18));
        }
        let unit = [(Unit::Usd, ("USD", 6)), (Unit::Credit, ("credits", 0)), (Unit::Call, ("calls", 0))];
        let unit = unit.into_iter().find(|(unit, _)| unit.amount(0).asset == asset).map(|(_, known)| known);
        unit.or_else(|| self.0.get(&asset).map(|(name, token)| (name.as_str(), token.decimals)))
    }

    /// The network that an asset is on, for people.
    pub(super) fn network(&self, asset: Asset) -> String {
        if asset.network.chain_id == 0 { "balances".to_owned() } else { asset.network.to_string() }
    }

    /// What an asset is called.
    pub(crate) fn name(&self, asset: Asset) -> String {
        self.known(asset).map_or_else(|| format!("units of {}", asset.address), |(name, _)| name.to_owned())
    }

    /// A number of units with thousands separators and every decimal place, such as `1,234.010000`.
    pub(super) fn number(&self, atomic: u128, asset: Asset) -> String {
        fixed(&atomic.to_string(), self.known(asset).map_or(0, |(_, decimals)| decimals))
    }

    /// The same with the asset's name.
    pub(crate) fn amount(&self, amount: Amount) -> String {
        format!("{} {}", self.number(amount.atomic, amount.asset), self.name(amount.asset))
    }

    /// The same for what a chain says, which need not fit our integers.
    pub(super) fn value(&self, value: U256, asset: Asset) -> String {
        let decimals = self.known(asset).map_or(0, |(_, decimals)| decimals);
        format!("{} {}", fixed(&value.to_string(), decimals), self.name(asset))
    }

    /// Without separators, for machines; empty where the decimals are not known.
    pub(crate) fn plain(&self, atomic: u128, asset: Asset) -> String {
        self.known(asset)
            .map_or_else(String::new, |(_, decimals)| fixed(&atomic.to_string(), decimals).replace(',', ""))
    }
}

/// USDC is called so wherever it is; its contract has another name on some networks.
fn name(token: &AssetInfo) -> String {
    match AssetInfo::usdc(token.asset.network) {
        Some(usdc) if usdc.asset == token.asset => "USDC".to_owned(),
        Some(_) | None => token.name.clone(),
    }
}

/// Digits with a point before the last `decimals`, and separators before it.
fn fixed(digits: &str, decimals: u8) -> String {
    let places = usize::from(decimals);
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let whole = separated(whole);
    if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") }
}

/// `1234567` as `1,234,567`.
fn separated(digits: &str) -> String {
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with thousands separators.
pub(super) fn count(number: u64) -> String {
    separated(&number.to_string())
}

/// A count and what is counted: `1 payment`, `1,203 payments`.
pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Millionths of a dollar as dollars: `$1.25`, `$0.010001`.
pub(super) fn dollars(micros: u64) -> String {
    let all = fixed(&micros.to_string(), 6);
    let (whole, fraction) = all.split_once('.').unwrap_or((&all, ""));
    format!("${whole}.{:0<2}", fraction.trim_end_matches('0'))
}

/// Milliseconds since 1970 as `2026-11-20 13:59:11`, in UTC.
pub(crate) fn utc(ms: u64) -> String {
    let (days, second) = (ms / 86_400_000, ms / 1_000 % 86_400);
    // Years begin in March here, so that the day that some of them have more comes last.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (era * 400 + year, month + 3) } else { (era * 400 + year + 1, month - 9) };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}")
}

/// Shortens every id and address in a text: `0x1234…cdef`, `12345678…`.
pub(super) fn short(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        let bare = word.strip_prefix("0x");
        let digits = bare.unwrap_or(word);
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (hex, bare.is_some(), digits.len()) {
            (true, true, 40 | 64) => out.push_str(&format!("0x{}…{}", &digits[..4], &digits[digits.len() - 4..])),
            (true, false, 32) => out.push_str(&format!("{}…", &digits[..8])),
            _ => out.push_str(word),
        }
        word.clear();
    };
    for char in text.chars() {
        if char.is_ascii_alphanumeric() {
            word.push(char);
        } else {
            flush(&mut word, &mut out);
            out.push(char);
        }
    }
    flush(&mut word, &mut out);
    out
}

/// Columns that are as wide as what is in them.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<String>,
    right: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// `right` lists the columns that are aligned to the right.
    pub(super) fn new(head: &[&str], right: &[usize]) -> Self {
        Self { head: head.iter().map(|name| name.to_uppercase()).collect(), right: right.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width = |at: usize| all().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.head.len()).map(|at| width(at).unwrap_or_default()).collect();
        for row in all() {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let cell = if self.right.contains(&at) { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.push_str(if at == 0 { "" } else { "  " });
                line.push_str(&cell);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// One record of CSV.
pub(super) fn csv<T: AsRef<str>>(out: &mut impl Write, cells: &[T]) -> io::Result<()> {
    for (at, cell) in cells.iter().enumerate() {
        let cell = cell.as_ref();
        out.write_all(if at == 0 { b"" } else { b"," })?;
        if cell.contains([',', '"', '\r', '\n']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times() {
        for (digits, decimals, want) in [
            ("0", 6, "0.000000"),
            ("10000", 6, "0.010000"),
            ("1234010000", 6, "1,234.010000"),
            ("1234567", 0, "1,234,567"),
            ("1", 18, "0.000000000000000001"),
        ] {
            assert_eq!(fixed(digits, decimals), want);
        }
        for (micros, want) in [(0, "$0.00"), (10_000, "$0.01"), (1_500_001, "$1.500001"), (5_000_000_000, "$5,000.00")]
        {
            assert_eq!(dollars(micros), want);
        }
        for (ms, want) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_000, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_795_178_544_999, "2026-11-20 12:42:24"),
            (4_107_542_400_000, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(utc(ms), want);
        }
        assert_eq!((counted(1, "payment"), counted(1_203, "payment")), ("1 payment".into(), "1,203 payments".into()));
    }

    #[test]
    fn ids_are_shortened_where_they_stand() {
        let text =
            format!("payment {} of 0x{}: 0x{}, 10000 of 0xab", "5f".repeat(16), "Ab".repeat(20), "01".repeat(32));
        assert_eq!(short(&text), "payment 5f5f5f5f… of 0xAbAb…AbAb: 0x0101…0101, 10000 of 0xab");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let mut out = Vec::new();
        csv(&mut out, &["plain", "a,b", "say \"x\"", "two\nlines", ""]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "plain,\"a,b\",\"say \"\"x\"\"\",\"two\nlines\",\r\n");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["state", "count"], &[1]);
        table.row(vec!["held".into(), "1,203".into()]);
        table.row(vec!["owed back".into(), "3".into()]);
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "STATE      COUNT\nheld       1,203\nowed back      3\n");
    }
}
