//! One line for every call, with what became of its money.

use std::fmt::Write as _;

use serde_json::Value;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::lines::Lines;
use crate::config::LogFormat;
use crate::telemetry::Finished;

/// What is repeated of a path.
const PATH_MAX_CHARS: usize = 256;
const METHOD_MAX_CHARS: usize = 16;

/// Where calls are written; nowhere by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessLog(Option<(Lines, LogFormat)>);

impl AccessLog {
    pub(super) fn to(lines: Lines, format: LogFormat) -> Self {
        Self(Some((lines, format)))
    }

    /// Hands a call's line over. Never waits.
    pub(crate) fn write(&self, call: &Finished<'_>) {
        let Some((lines, format)) = &self.0 else { return };
        let mut line = String::with_capacity(384);
        let text = *format == LogFormat::Text;
        line.push_str(if text { "" } else { "{\"timestamp\":\"" });
        SystemTime.format_time(&mut Writer::new(&mut line)).ok();
        line.push_str(if text { "  INFO" } else { "\",\"level\":\"INFO\",\"message\":\"call\"" });
        let mut fields = Fields { line: &mut line, text };
        print(call, &mut fields);
        line.push_str(if text { "\n" } else { "}\n" });
        lines.send(line.into_bytes());
    }
}

/// In text, what everybody looks for comes first and without names.
fn print(call: &Finished<'_>, fields: &mut Fields<'_>) {
    let (method, path) = (cut(call.method, METHOD_MAX_CHARS), cut(call.path, PATH_MAX_CHARS));
    if fields.text {
        fields.bare(method);
        fields.bare(path);
        fields.number("", call.status);
        fields.bare(call.outcome.code());
    } else {
        fields.word("method", method);
        fields.word("path", path);
        fields.number("status", call.status);
        fields.word("outcome", call.outcome.code());
    }
    if let Some(route) = call.route {
        fields.word("route", route);
    }
    if let Some(caller) = call.caller {
        fields.word("caller", caller);
    }
    if let Some(money) = call.outcome.money() {
        fields.word("money", money.code());
    }
    if let Some(payer) = call.payer {
        fields.print("payer", payer);
    }
    if let Some(amount) = call.amount {
        fields.print("amount_atomic", amount.atomic);
        fields.print("asset", amount.asset.address);
        fields.print("network", amount.asset.network);
    }
    if let Some(hold) = call.hold {
        fields.print("hold", hold);
    }
    if let Some(reason) = call.reason {
        fields.word("reason", reason);
    }
    if let Some(limit) = call.limited {
        fields.word("limit", limit.code());
    }
    fields.print("source", call.source_ip);
    fields.number("latency_us", call.latency_us);
    if let Some(us) = call.upstream_us {
        fields.number("upstream_us", us);
    }
    if let Some(status) = call.upstream_status {
        fields.number("upstream_status", status);
    }
    if let Some(us) = call.settlement_us {
        fields.number("settlement_us", us);
    }
}

struct Fields<'a> {
    line: &'a mut String,
    text: bool,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        match (self.text, name) {
            (true, "") => self.line.push(' '),
            (true, name) => write!(self.line, " {name}=").expect("a String takes everything"),
            (false, name) => write!(self.line, ",\"{name}\":").expect("a String takes everything"),
        }
    }

    fn bare(&mut self, word: &str) {
        self.name("");
        self.escaped(word);
    }

    fn word(&mut self, name: &str, word: &str) {
        self.name(name);
        if self.text {
            self.escaped(word);
        } else {
            write!(self.line, "{}", Value::from(word)).expect("a String takes everything");
        }
    }

    /// What prints without anything to escape.
    fn print(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        let quote = if self.text { "" } else { "\"" };
        write!(self.line, "{quote}{value}{quote}").expect("a String takes everything");
    }

    fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        self.name(name);
        write!(self.line, "{number}").expect("a String takes everything");
    }

    /// A caller's words must not start a line of their own, colour it or turn it around.
    fn escaped(&mut self, word: &str) {
        let plain = !word.is_empty() && word.chars().all(is_plain);
        if plain {
            return self.line.push_str(word);
        }
        write!(self.line, "{word:?}").expect("a String takes everything");
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && c != '"' || c.is_alphanumeric()
}

fn cut(text: &str, max_chars: usize) -> &str {
    text.char_indices().nth(max_chars).map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::MoneyOutcome;
    use ledger::HoldId;
    use protocol::{Amount, AssetInfo, Network};

    fn call(path: &str) -> Finished<'_> {
        let token = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap();
        Finished {
            method: "GET",
            path,
            route: Some("* /paid/*"),
            caller: None,
            status: 200,
            outcome: MoneyOutcome::ServedTab,
            payer: Some("0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap()),
            amount: Some(Amount::new(10_000, token.asset)),
            hold: Some(HoldId([7; 16])),
            reason: None,
            limited: None,
            source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
            latency_us: 1_234,
            upstream_us: Some(800),
            upstream_status: Some(200),
            settlement_us: None,
        }
    }

    fn line(call: &Finished<'_>, text: bool) -> String {
        let mut line = String::new();
        print(call, &mut Fields { line: &mut line, text });
        line
    }

    #[test]
    fn a_line_says_what_became_of_the_money() {
        let want = " GET /paid/ok 200 served_tab route=\"* /paid/*\" money=held payer=0x209693Bc6afc0C5328bA36FaF03C514EF312287C \
                    amount_atomic=10000 asset=0x036CbD53842c5426634e7929541eC2318f3dCF7e network=eip155:84532 \
                    hold=07070707070707070707070707070707 source=127.0.0.1 latency_us=1234 upstream_us=800 upstream_status=200";
        assert_eq!(line(&call("/paid/ok"), true), want);
        let json: Value = serde_json::from_str(&format!("{{{}}}", &line(&call("/paid/ok"), false)[1..])).unwrap();
        assert_eq!(
            (&json["outcome"], &json["money"], &json["status"]),
            (&"served_tab".into(), &"held".into(), &200.into())
        );
        assert_eq!((&json["amount_atomic"], &json["latency_us"]), (&"10000".into(), &1_234.into()));
    }

    #[test]
    fn a_callers_words_stay_on_their_line() {
        for hostile in ["/a\nINFO GET /b 200", "/a\u{1b}[31m", "/a\u{202e}b", "/a \"b", "/\u{85}"] {
            let text = line(&call(hostile), true);
            assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text:?}");
            assert!(text.starts_with(" GET \"/"), "{text}");
            let json = line(&call(hostile), false);
            assert!(!json.contains('\n') && !json.contains('\u{1b}'), "{json:?}");
            let json: Value = serde_json::from_str(&format!("{{{}}}", &json[1..])).unwrap();
            assert_eq!(json["path"], hostile);
        }
        let long = format!("/{}", "é".repeat(5_000));
        assert!(line(&call(&long), true).len() < 1_000);
    }
}
