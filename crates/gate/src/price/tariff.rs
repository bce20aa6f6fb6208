//! Prices that depend on the call: what of them is known before it is run, and what its answer comes to.

use super::{Comparison, Cost, Field, Find, Formula, NoPrice, Test};

/// How many readings of the upstream a price may have.
pub const USAGES_MAX: usize = 4;
/// A started one counts.
const KB: u64 = 1_024;
const DAY_MS: u64 = 86_400_000;
const MINUTE_MS: u64 = 60_000;

/// What the numbers of a price are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coin {
    /// Millionths of a dollar.
    Micros,
    /// Credits, each worth so many millionths of a dollar.
    Credits(u64),
}

/// What the calls of a route cost, where that depends on the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// What all its numbers are.
    pub coin: Coin,
    /// For the call itself.
    pub call: u64,
    /// For each started KB of the request's body.
    pub kb_in: u64,
    /// For each started KB of the answer's body.
    pub kb_out: u64,
    /// What the upstream reports.
    pub usage: Vec<UsageSource>,
    /// For what it reports.
    pub parts: Vec<Part>,
    /// In the place of all these.
    pub formula: Option<Formula>,
    /// Headers that the formula reads, in small letters.
    pub headers: Vec<String>,
    /// At some times it is another part of the price; the first that fits.
    pub windows: Vec<Window>,
    /// For accounts that have had much of it this month it is another part of the price; the last that fits.
    pub volumes: Vec<VolumeStep>,
    /// The most that a call may cost: so much is held. There is one where the price is known only after the run.
    pub ceiling: Option<u64>,
    /// What is due where the upstream did not report what it should.
    pub unreported: Unreported,
}

/// Something that the upstream reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSource {
    /// What the configuration calls it.
    pub name: String,
    /// Where it is.
    pub find: Find,
}

/// What is reported costs this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which of the usages.
    pub usage: usize,
    /// Prices of one slice after the other; the last has no end.
    pub slices: Vec<Slice>,
}

/// The units up to a bound cost this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The last unit that it covers; `None` for all the rest.
    pub up_to: Option<u64>,
    /// What so many units cost.
    pub price: u64,
    /// How many; never zero.
    pub each: u64,
}

/// A part of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Minutes after midnight, in UTC.
    pub from_minute: u64,
    /// The first minute that is not in it any more. Not after `from_minute`: on the next day.
    pub to_minute: u64,
    /// On which days it begins; the first is Sunday.
    pub days: [bool; 7],
    /// Which part of the price is due.
    pub percent: u64,
}

/// What of a month is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeMeasure {
    /// Calls that were charged.
    Calls,
    /// What they were charged, in the account's unit.
    Amount,
}

/// From a volume on it is another part of the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeStep {
    /// Of what.
    pub measure: VolumeMeasure,
    /// From how much on.
    pub from: u64,
    /// Which part of the price is due.
    pub percent: u64,
}

/// What is due for what was not reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreported {
    /// Nothing.
    #[default]
    Nothing,
    /// The ceiling.
    Ceiling,
}

/// What an account has had this month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Calls that were charged.
    pub calls: u64,
    /// What they were charged, in the account's unit.
    pub amount: u64,
}

/// What of a call is known before it is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// In capitals.
    pub method: String,
    /// The normalised one.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// The values of [`Tariff::headers`].
    pub headers: Vec<String>,
    /// Bytes of the body.
    pub size: u64,
    /// When it came.
    pub at_ms: u64,
    /// Of whoever pays.
    pub volume: Volume,
}

/// What was counted of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes of the body that were given out.
    pub size: u64,
    /// What was reported, in the order of [`Tariff::usage`].
    pub usage: [Option<u64>; USAGES_MAX],
}

/// What a call costs by its reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// What is due; never more than the ceiling.
    pub cost: Cost,
    /// What the reading would come to besides, above the ceiling, in millionths of a dollar. Nobody pays it.
    pub above_micros: u64,
}

impl Tariff {
    /// Whether the price is known only after the run.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.kb_out > 0 || !self.parts.is_empty() || self.reads(&|field| field.is_after())
    }

    /// Whether the length of the request's body must be known.
    #[must_use]
    pub fn needs_size(&self) -> bool {
        self.kb_in > 0 || self.reads(&|field| field == Field::RequestSize)
    }

    /// Whether the month of whoever pays must be known.
    #[must_use]
    pub fn needs_volume(&self) -> bool {
        !self.volumes.is_empty() || self.reads(&|field| matches!(field, Field::VolumeCalls | Field::VolumeAmount))
    }

    /// Whether the body of the answer is read for what the upstream reports.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.usage.iter().any(|usage| matches!(usage.find, Find::Body(_)))
    }

    /// The most that a call may cost, where it is metered.
    #[must_use]
    pub fn ceiling(&self) -> Option<Cost> {
        self.ceiling.map(|ceiling| self.cost_of(ceiling))
    }

    /// What a call costs. Where `forgives`, what was not reported costs nothing, whatever [`Self::unreported`] says.
    ///
    /// # Errors
    /// [`NoPrice`] where its formula has none for it.
    pub fn price(&self, asked: &Asked, reading: &Reading, forgives: bool) -> Result<Priced, NoPrice> {
        let due = match &self.formula {
            Some(formula) => u128::try_from(formula.value(asked, reading)?).map_err(|_| NoPrice::Negative)?,
            None => self.sum(asked, reading),
        };
        let due = self.shares(asked).into_iter().fold((due, 1_u128), |(amount, each), percent| {
            (amount.saturating_mul(u128::from(percent)), each.saturating_mul(100))
        });
        let due = u64::try_from(due.0.div_ceil(due.1.max(1))).unwrap_or(u64::MAX);
        let unread = !forgives && self.unreported == Unreported::Ceiling && self.is_unreported(reading);
        let ceiling = self.ceiling.unwrap_or(u64::MAX);
        let cost = if unread && self.ceiling.is_some() { ceiling } else { due.min(ceiling) };
        let above_micros = self.cost_of(due.saturating_sub(ceiling)).micros;
        Ok(Priced { cost: self.cost_of(cost), above_micros })
    }

    /// Whether something that the price needs was not reported.
    #[must_use]
    pub fn is_unreported(&self, reading: &Reading) -> bool {
        let silent = |position: usize| reading.usage.get(position).copied().flatten().is_none();
        self.parts.iter().any(|part| silent(part.usage))
            || self.reads(&|field| matches!(field, Field::Usage(position) if silent(position)))
    }

    /// The parts of a price, each rounded up.
    fn sum(&self, asked: &Asked, reading: &Reading) -> u128 {
        let per_kb = |price: u64, bytes: u64| u128::from(price).saturating_mul(u128::from(bytes.div_ceil(KB)));
        let parts = self
            .parts
            .iter()
            .map(|part| part.price(reading.usage.get(part.usage).copied().flatten().unwrap_or_default()));
        let known = [u128::from(self.call), per_kb(self.kb_in, asked.size), per_kb(self.kb_out, reading.size)];
        known.into_iter().chain(parts).fold(0, u128::saturating_add)
    }

    /// Which parts of the price are due, in per cent.
    fn shares(&self, asked: &Asked) -> [u64; 2] {
        let window = self.windows.iter().find(|window| window.covers(asked));
        let reached = |step: &&VolumeStep| match step.measure {
            VolumeMeasure::Calls => asked.volume.calls >= step.from,
            VolumeMeasure::Amount => asked.volume.amount >= step.from,
        };
        let volume = self.volumes.iter().rev().find(reached);
        [window.map_or(100, |window| window.percent), volume.map_or(100, |step| step.percent)]
    }

    fn cost_of(&self, amount: u64) -> Cost {
        match self.coin {
            Coin::Micros => Cost { micros: amount, credits: None },
            Coin::Credits(micros) => Cost { micros: amount.saturating_mul(micros), credits: Some(amount) },
        }
    }

    /// Whether the formula reads such a field.
    fn reads(&self, wanted: &dyn Fn(Field) -> bool) -> bool {
        self.formula.as_ref().is_some_and(|formula| formula_reads(formula, wanted))
    }
}

impl Part {
    /// What so many units cost: slice after slice.
    fn price(&self, units: u64) -> u128 {
        let (mut counted, mut sum) = (0_u64, 0_u128);
        for slice in &self.slices {
            let end = slice.up_to.map_or(units, |bound| bound.min(units));
            let within = end.saturating_sub(counted);
            let amount = u128::from(within).saturating_mul(u128::from(slice.price));
            sum = sum.saturating_add(amount.div_ceil(u128::from(slice.each.max(1))));
            counted = counted.max(end);
        }
        sum
    }
}

impl Window {
    fn covers(&self, asked: &Asked) -> bool {
        let minute = asked.hour().saturating_mul(60).saturating_add(asked.minute());
        let today = usize::try_from(asked.weekday()).unwrap_or_default();
        let begins = |day: usize| self.days.get(day).copied().unwrap_or_default();
        let yesterday = today.checked_sub(1).unwrap_or(6);
        if self.from_minute < self.to_minute {
            return begins(today) && (self.from_minute..self.to_minute).contains(&minute);
        }
        (begins(today) && minute >= self.from_minute) || (begins(yesterday) && minute < self.to_minute)
    }
}

impl Asked {
    /// 0 to 23, in UTC.
    #[must_use]
    pub const fn hour(&self) -> u64 {
        self.at_ms.rem_euclid(DAY_MS).div_euclid(60 * MINUTE_MS)
    }

    /// 0 to 59.
    #[must_use]
    pub const fn minute(&self) -> u64 {
        self.at_ms.div_euclid(MINUTE_MS).rem_euclid(60)
    }

    /// 0 is Sunday. The first of January 1970 was a Thursday.
    #[must_use]
    pub const fn weekday(&self) -> u64 {
        self.at_ms.div_euclid(DAY_MS).saturating_add(4).rem_euclid(7)
    }
}

fn formula_reads(formula: &Formula, wanted: &dyn Fn(Field) -> bool) -> bool {
    let reads = |formula: &Formula| formula_reads(formula, wanted);
    match formula {
        Formula::Whole(_) | Formula::Length(_) => false,
        Formula::Of(field) => wanted(*field),
        Formula::Negative(inner) => reads(inner),
        Formula::Sum(pair)
        | Formula::Difference(pair)
        | Formula::Product(pair)
        | Formula::Quotient(pair)
        | Formula::QuotientUp(pair)
        | Formula::Remainder(pair)
        | Formula::Least(pair)
        | Formula::Most(pair) => pair.iter().any(reads),
        Formula::Choice(choice) => {
            let (test, then, other) = choice.as_ref();
            test_reads(test, wanted) || reads(then) || reads(other)
        }
    }
}

fn test_reads(test: &Test, wanted: &dyn Fn(Field) -> bool) -> bool {
    let reads = |formula: &Formula| formula_reads(formula, wanted);
    match test {
        Test::Is(_) | Test::Same(..) | Test::Starts(..) | Test::Ends(..) | Test::Contains(..) | Test::PhraseIn(..) => {
            false
        }
        Test::Not(inner) => test_reads(inner, wanted),
        Test::Both(pair) | Test::Either(pair) => pair.iter().any(|test| test_reads(test, wanted)),
        Test::Numbers(Comparison::Equal | Comparison::Less | Comparison::AtMost, pair) => pair.iter().any(reads),
        Test::NumberIn(number, list) => reads(number) || list.iter().any(reads),
    }
}

#[cfg(test)]
mod tests;
