//! `price` as keys: what a call costs where that depends on the call.

use gate::price::{
    Coin, Find, Part, Pointer, Slice, Tariff, USAGES_MAX, Unreported, UsageSource, VolumeMeasure, VolumeStep, Window,
};
use protocol::parse_decimal;

use super::accounts::AccountsConfig;
use super::formula::formula;
use super::optional;
use super::reader::{Entry, Fields, Node, Reader};

const MICRO_DECIMALS: u8 = 6;
/// A million dollars, or as many credits: no call costs more.
const AMOUNT_MAX: u64 = 1_000_000_000_000;
const SLICES_MAX: usize = 16;
const WINDOWS_MAX: usize = 16;
const VOLUMES_MAX: usize = 16;
const PERCENT_MAX: u64 = 10_000;
const NAME_MAX: usize = 32;
const HEADER_NAME_MAX: usize = 64;
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const LEVEL: &str = "routes[].price";
/// What a formula takes the place of.
const PARTS: [&str; 6] = ["call", "per_kb_in", "per_kb_out", "per", "volume", "times"];
const USAGE_FIX: &str = "write a name and where it is, such as usage: { tokens: { pointer: /usage/total_tokens } }.";

/// Reads the keys of a price.
pub(super) fn tariff<'d>(
    reader: &mut Reader<'d>,
    node: &Node<'d>,
    fields: &Fields<'d>,
    accounts: Option<&AccountsConfig>,
) -> Option<Tariff> {
    let coin = optional(reader, fields, "in", Coin::Micros, |reader, node| coin(reader, node, accounts));
    let usage = optional(reader, fields, "usage", Vec::new(), usage)?;
    let coin = coin?;
    let mut amount_of = |name| optional(reader, fields, name, 0, |reader, node| amount(reader, node, coin));
    let (call, kb_in, kb_out) = (amount_of("call"), amount_of("per_kb_in"), amount_of("per_kb_out"));
    let ceiling = optional(reader, fields, "max", None, |reader, node| amount(reader, node, coin).map(Some));
    let parts = optional(reader, fields, "per", Vec::new(), |reader, node| parts(reader, node, &usage, coin));
    let volumes = optional(reader, fields, "volume", Vec::new(), volumes);
    let windows = optional(reader, fields, "times", Vec::new(), windows);
    let unreported = optional(reader, fields, "unreported", Unreported::Nothing, unreported);
    let read =
        optional(reader, fields, "formula", None, |reader, node| formula_of(reader, node, &usage, coin).map(Some))?;
    let (formula, headers) = read.map_or((None, Vec::new()), |(formula, headers)| (Some(formula), headers));
    let tariff = Tariff {
        coin,
        call: call?,
        kb_in: kb_in?,
        kb_out: kb_out?,
        usage,
        parts: parts?,
        formula,
        headers,
        windows: windows?,
        volumes: volumes?,
        ceiling: ceiling?,
        unreported: unreported?,
    };
    whole(reader, node, fields, tariff)
}

/// What only all of it together shows.
fn whole<'d>(reader: &mut Reader<'d>, node: &Node<'d>, fields: &Fields<'d>, tariff: Tariff) -> Option<Tariff> {
    let mut sound = true;
    let mut mistake = |reader: &mut Reader<'d>, what: &str, fix: &str| {
        reader.mistake::<()>(&node.at, what, fix);
        sound = false;
    };
    let has_parts = tariff.call > 0 || tariff.kb_in > 0 || tariff.kb_out > 0 || !tariff.parts.is_empty();
    if tariff.formula.is_some() && PARTS.iter().any(|name| fields.get(name).is_some()) {
        mistake(
            reader,
            "the price has a formula and parts.",
            "write all of it in the formula, or leave the formula out.",
        );
    } else if tariff.formula.is_none() && !has_parts && !PARTS.iter().any(|name| fields.was_meant(name)) {
        mistake(
            reader,
            "nothing costs anything here.",
            "write call, per_kb_in, per_kb_out, per or formula; or free: true.",
        );
    }
    match (tariff.is_metered(), tariff.ceiling) {
        (true, None) if !fields.was_meant("max") => {
            let fix = "write the most that a call may cost, such as max: \"0.10\": so much is held while it runs.";
            mistake(reader, "what a call costs is known only after it has run, and there is no `max`.", fix);
        }
        (false, Some(_)) => {
            mistake(reader, "what a call costs is known before it is run: nothing is held for it.", "leave `max` out.");
        }
        (true, Some(_)) if tariff.call > 0 && tariff.ceiling.is_some_and(|ceiling| ceiling < tariff.call) => {
            mistake(reader, "`max` is less than `call`: every call would cost `max`.", "write a higher `max`.");
        }
        (true, _) | (false, None) => {}
    }
    if fields.get("unreported").is_some() && tariff.usage.is_empty() {
        mistake(reader, "nothing is reported here.", "leave `unreported` out, or write `usage`.");
    }
    sound.then_some(tariff)
}

fn coin<'d>(reader: &mut Reader<'d>, node: &Node<'d>, accounts: Option<&AccountsConfig>) -> Option<Coin> {
    let text = reader.text(node, "write usd or credits.")?;
    match (text.value.as_str(), accounts) {
        ("usd", _) => Some(Coin::Micros),
        ("credits", Some(accounts)) => Some(Coin::Credits(accounts.credit_micros)),
        // The section is missed elsewhere.
        ("credits", None) => Some(Coin::Credits(1)),
        _ => reader.mistake(
            &node.at,
            format!("{} is not what prices are counted in.", text.shown()),
            "write usd or credits.",
        ),
    }
}

/// An amount of dollars, in millionths, or of credits.
fn amount<'d>(reader: &mut Reader<'d>, node: &Node<'d>, coin: Coin) -> Option<u64> {
    let fix = match coin {
        Coin::Micros => {
            "write dollars with at most six decimal places, such as \"0.01\"; for less than that, price so many with `each`."
        }
        Coin::Credits(_) => "write a whole number of credits, such as 5.",
    };
    let text = reader.text(node, fix)?;
    let read = match coin {
        Coin::Micros => parse_decimal(text.value.strip_prefix('$').unwrap_or(&text.value), MICRO_DECIMALS).ok(),
        Coin::Credits(_) => parse_decimal(&text.value, 0).ok(),
    };
    match read.and_then(|amount| u64::try_from(amount).ok()).filter(|amount| (1..=AMOUNT_MAX).contains(amount)) {
        Some(amount) => Some(amount),
        None => reader.mistake(&node.at, format!("{} is not a price.", text.shown()), fix),
    }
}

fn usage<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<UsageSource>> {
    let entries = reader.entries(node, USAGE_FIX)?;
    if entries.len() > USAGES_MAX || entries.is_empty() {
        let what = format!("{} names are none, or more than {USAGES_MAX}.", entries.len());
        return reader.mistake(&node.at, what, USAGE_FIX);
    }
    let source = |entry: &Entry<'d>| {
        let letters = entry.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let begins = entry.name.starts_with(|first: char| first.is_ascii_lowercase());
        let is_name = begins && letters && entry.name.len() <= NAME_MAX;
        let find = find(reader, &entry.node);
        if !is_name {
            let fix = format!("write a small letter, then small letters, digits and _; at most {NAME_MAX}.");
            return reader.mistake(&entry.at, "this is not a name of a usage.", fix);
        }
        Some(UsageSource { name: entry.name.clone(), find: find? })
    };
    let read: Vec<_> = entries.iter().map(source).collect();
    read.into_iter().collect()
}

fn find<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Find> {
    let fields = reader.fields(node, "routes[].price.usage.<name>")?;
    let given: Vec<_> =
        ["pointer", "header", "trailer"].into_iter().filter_map(|name| Some((name, fields.get(name)?))).collect();
    let [(kind, place)] = given.as_slice() else {
        if fields.refused() {
            return None;
        }
        return reader.mistake(&node.at, "a usage is in one place.", "write one of pointer, header and trailer.");
    };
    let text = reader.text(place, USAGE_FIX)?;
    if *kind == "pointer" {
        let fix = "write a JSON pointer, such as /usage/total_tokens.";
        return match Pointer::parse(&text.value) {
            Some(pointer) => Some(Find::Body(pointer)),
            None => reader.mistake(&place.at, format!("{} is not a JSON pointer.", text.shown()), fix),
        };
    }
    let name = text.value.to_ascii_lowercase();
    if name.len() > HEADER_NAME_MAX || http::HeaderName::try_from(&name).is_err() {
        let what = format!("{} is not the name of a header.", text.shown());
        return reader.mistake(&place.at, what, "write a name such as x-tokens-used.");
    }
    Some(if *kind == "header" { Find::Header(name) } else { Find::Trailer(name) })
}

fn parts<'d>(reader: &mut Reader<'d>, node: &Node<'d>, usage: &[UsageSource], coin: Coin) -> Option<Vec<Part>> {
    let entries = reader.entries(node, "write what is reported and its price, such as per: { tokens: \"0.0001\" }.")?;
    let part = |entry: &Entry<'d>| {
        let slices = slices(reader, &entry.node, coin);
        let Some(position) = usage.iter().position(|source| source.name == entry.name) else {
            let what = format!("`usage` has no {}.", entry.name);
            return reader.mistake(&entry.at, what, "write beneath `usage` where the API reports it.");
        };
        Some(Part { usage: position, slices: slices? })
    };
    let read: Vec<_> = entries.iter().map(part).collect();
    read.into_iter().collect()
}

/// A price for each, or `{ price, each, tiers }`.
fn slices<'d>(reader: &mut Reader<'d>, node: &Node<'d>, coin: Coin) -> Option<Vec<Slice>> {
    if !node.is_mapping() {
        return Some(vec![Slice { up_to: None, price: amount(reader, node, coin)?, each: 1 }]);
    }
    let fields = reader.fields(node, "routes[].price.per.<name>")?;
    let each = optional(reader, &fields, "each", 1, |reader, node| reader.whole(node, 1..=AMOUNT_MAX, "units"));
    let fix = "write the price of so many as `each` says.";
    let rest = reader.required(&fields, "price", fix).and_then(|node| amount(reader, &node, coin));
    let tiers = optional(reader, &fields, "tiers", Vec::new(), |reader, node| tiers(reader, node, coin));
    let (each, rest, tiers) = (each?, rest?, tiers?);
    let slice = |(up_to, price)| Slice { up_to: Some(up_to), price, each };
    Some(tiers.into_iter().map(slice).chain([Slice { up_to: None, price: rest, each }]).collect())
}

fn tiers<'d>(reader: &mut Reader<'d>, node: &Node<'d>, coin: Coin) -> Option<Vec<(u64, u64)>> {
    let fix = "write a list of { up_to, price }, the lowest first.";
    let items = few(reader, node, SLICES_MAX, fix)?;
    let mut tiers: Vec<(u64, u64)> = Vec::new();
    for item in &items {
        let fields = reader.fields(item, "routes[].price.per.<name>.tiers[]")?;
        let up_to =
            reader.required(&fields, "up_to", fix).and_then(|node| reader.whole(&node, 1..=AMOUNT_MAX, "units"));
        let price = reader.required(&fields, "price", fix).and_then(|node| amount(reader, &node, coin));
        let (up_to, price) = (up_to?, price?);
        if tiers.last().is_some_and(|(last, _)| *last >= up_to) {
            return reader.mistake(&item.at, "the bounds do not rise.", fix);
        }
        tiers.push((up_to, price));
    }
    Some(tiers)
}

fn few<'d>(reader: &mut Reader<'d>, node: &Node<'d>, most: usize, fix: &str) -> Option<Vec<Node<'d>>> {
    let items = reader.items(node, fix)?;
    if items.is_empty() || items.len() > most {
        return reader.mistake(&node.at, format!("{} are none, or more than {most}.", items.len()), fix);
    }
    Some(items)
}

fn percent<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<u64> {
    let fix = "write which part of the price is due, in per cent, such as percent: 50.";
    let node = reader.required(fields, "percent", fix)?;
    reader.whole(&node, 1..=PERCENT_MAX, "per cent")
}

fn volumes<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<VolumeStep>> {
    let fix = "write a list of { calls, percent } or { amount, percent }, the lowest first.";
    let items = few(reader, node, VOLUMES_MAX, fix)?;
    let mut steps: Vec<VolumeStep> = Vec::new();
    for item in &items {
        let fields = reader.fields(item, "routes[].price.volume[]")?;
        let percent = percent(reader, &fields);
        let (measure, from) = match (fields.get("calls"), fields.get("amount")) {
            (Some(node), None) => (VolumeMeasure::Calls, node),
            (None, Some(node)) => (VolumeMeasure::Amount, node),
            (Some(_), Some(_)) | (None, None) => {
                return reader.mistake(&item.at, "a step begins at so many calls, or at an amount.", fix);
            }
        };
        let from = reader.whole(&from, 1..=AMOUNT_MAX, "calls, or of the account's unit");
        let step = VolumeStep { measure, from: from?, percent: percent? };
        if steps.last().is_some_and(|last| last.measure != measure || last.from >= step.from) {
            return reader.mistake(&item.at, "the steps do not rise, or are not all of the same measure.", fix);
        }
        steps.push(step);
    }
    Some(steps)
}

fn windows<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<Window>> {
    let fix = "write a list such as - { from: \"22:00\", to: \"06:00\", percent: 50 }; times are in UTC.";
    let items = few(reader, node, WINDOWS_MAX, fix)?;
    let window = |item: &Node<'d>| {
        let fields = reader.fields(item, "routes[].price.times[]")?;
        let mut time = |name| reader.required(&fields, name, fix).and_then(|node| minute(reader, &node));
        let (from_minute, to_minute) = (time("from"), time("to"));
        let days = optional(reader, &fields, "days", [true; 7], days);
        let percent = percent(reader, &fields);
        Some(Window { from_minute: from_minute?, to_minute: to_minute?, days: days?, percent: percent? })
    };
    let read: Vec<_> = items.iter().map(window).collect();
    read.into_iter().collect()
}

/// `HH:MM`
fn minute<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<u64> {
    let fix = "write hours and minutes in quotes, such as \"22:00\".";
    let text = reader.text(node, fix)?;
    let two = |digits: &str, below: u64| {
        let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok()).flatten().filter(|number| *number < below)
    };
    let read = text.value.split_once(':').and_then(|(hour, minute)| Some(two(hour, 24)? * 60 + two(minute, 60)?));
    match read {
        Some(minute) => Some(minute),
        None => reader.mistake(&node.at, format!("{} is not a time of the day.", text.shown()), fix),
    }
}

fn days<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<[bool; 7]> {
    let fix = "write a list of sun, mon, tue, wed, thu, fri and sat.";
    let items = few(reader, node, DAYS.len(), fix)?;
    let mut days = [false; 7];
    for item in &items {
        let text = reader.text(item, fix)?;
        let place = DAYS.iter().zip(&mut days).find(|(name, _)| **name == text.value);
        match place {
            Some((_, day)) => *day = true,
            None => return reader.mistake(&item.at, format!("{} is not a day.", text.shown()), fix),
        }
    }
    Some(days)
}

fn unreported<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Unreported> {
    let fix = "write nothing, or max to charge the most.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "nothing" => Some(Unreported::Nothing),
        "max" => Some(Unreported::Ceiling),
        _ => reader.mistake(&node.at, format!("{} is not what is due.", text.shown()), fix),
    }
}

type Read = (gate::price::Formula, Vec<String>);

fn formula_of<'d>(reader: &mut Reader<'d>, node: &Node<'d>, usage: &[UsageSource], coin: Coin) -> Option<Read> {
    let fix =
        "write whole numbers, such as formula: 'usd(\"0.001\") + 2 * usage.tokens'; docs/prices.md has the words.";
    let text = reader.text(node, fix)?;
    match formula(&text.value, usage, coin) {
        Ok(read) => Some(read),
        Err(wrong) if wrong.character == 0 => {
            reader.mistake(&node.at, format!("the formula is refused: {}.", wrong.what), fix)
        }
        Err(wrong) => {
            let what = format!("the formula is refused at character {}: {}.", wrong.character, wrong.what);
            reader.mistake(&node.at, what, fix)
        }
    }
}

/// The keys of a price that is a mapping.
pub(super) fn fields<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Fields<'d>> {
    reader.fields(node, LEVEL)
}

#[cfg(test)]
mod tests;
