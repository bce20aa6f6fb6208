//! Counting an answer while it is given out.

use std::sync::Arc;

use ledger::Unit;

use super::usage::{Search, whole};
use super::{Asked, Cost, Find, KeyTerms, NoPrice, Priced, Reading, Tariff, USAGES_MAX, units};

/// Counts one answer, and says what it has come to so far.
#[derive(Clone, Debug)]
pub struct Meter {
    tariff: Arc<Tariff>,
    asked: Asked,
    scale: Scale,
    reading: Reading,
    /// By the position of the usage.
    searches: Vec<(usize, Search)>,
    /// The upstream broke it off: what it did not report is nobody's doing.
    is_broken: bool,
}

/// From a price to units of one account.
#[derive(Clone, Copy, Debug)]
struct Scale {
    unit: Unit,
    credit_micros: u64,
    terms: KeyTerms,
}

impl Meter {
    /// A meter for a call of an account; a credit is worth `credit_micros`.
    #[must_use]
    pub const fn new(tariff: Arc<Tariff>, asked: Asked, unit: Unit, credit_micros: u64, terms: KeyTerms) -> Self {
        let reading = Reading { size: 0, usage: [None; USAGES_MAX] };
        Self {
            tariff,
            asked,
            scale: Scale { unit, credit_micros, terms },
            reading,
            searches: Vec::new(),
            is_broken: false,
        }
    }

    /// What is held for the call, in the account's unit: the ceiling, or what the call costs where that is known before it is run.
    ///
    /// # Errors
    /// [`NoPrice`] where the formula has none.
    pub fn held(&self) -> Result<u64, NoPrice> {
        Ok(self.scale.units(self.listed()?))
    }

    /// The same before a key's plan makes anything of it.
    ///
    /// # Errors
    /// [`NoPrice`] where the formula has none.
    pub fn listed(&self) -> Result<Cost, NoPrice> {
        match self.tariff.ceiling() {
            Some(ceiling) if self.tariff.is_metered() => Ok(ceiling),
            Some(_) | None => Ok(self.priced()?.cost),
        }
    }

    /// Whether the price is known only after the run. For a key that pays a fixed price, and for a pass that counts calls, it is not.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.tariff.is_metered() && self.scale.terms.fixed.is_none() && self.scale.unit != Unit::Call
    }

    /// What the head of the answer says: `header` gives the bytes of a header by its name.
    pub fn head<'h>(&mut self, header: impl Fn(&str) -> Option<&'h [u8]>) {
        let media = header("content-type").unwrap_or_default();
        let is_events = media.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"));
        let is_plain = header("content-encoding").is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"));
        for (position, usage) in self.tariff.usage.iter().enumerate() {
            match &usage.find {
                Find::Header(name) => self.reading.note(position, header(name)),
                Find::Body(pointer) if is_plain => {
                    self.searches.push((position, Search::new(pointer.clone(), is_events)));
                }
                Find::Body(_) | Find::Trailer(_) => {}
            }
        }
    }

    /// A piece of the body is given out.
    pub fn note(&mut self, data: &[u8]) {
        self.reading.size = self.reading.size.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        for (position, search) in &mut self.searches {
            search.read(data);
            self.reading.found(*position, search.found());
        }
    }

    /// What the trailers say.
    pub fn trailers<'h>(&mut self, trailer: impl Fn(&str) -> Option<&'h [u8]>) {
        for (position, usage) in self.tariff.usage.iter().enumerate() {
            if let Find::Trailer(name) = &usage.find {
                self.reading.note(position, trailer(name));
            }
        }
    }

    /// The upstream broke off: what it has not reported yet is not made up for.
    pub const fn broke(&mut self) {
        self.is_broken = true;
    }

    /// The body came to its end.
    pub fn end(&mut self) {
        for (position, search) in &mut self.searches {
            search.end();
            self.reading.found(*position, search.found());
        }
    }

    /// What the call has come to so far, in the account's unit. A formula that has no price for it makes it free: nobody pays for what
    /// nobody can name.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.priced().map_or(0, |priced| self.scale.units(priced.cost))
    }

    /// What it has come to so far.
    ///
    /// # Errors
    /// [`NoPrice`] where the formula has none.
    pub fn priced(&self) -> Result<Priced, NoPrice> {
        self.tariff.price(&self.asked, &self.reading, self.is_broken)
    }

    /// What the call itself costs, before there is anything to count; in the account's unit.
    #[must_use]
    pub fn base_units(&self) -> u64 {
        let nothing = Reading::default();
        self.tariff.price(&self.asked, &nothing, true).map_or(0, |priced| self.scale.units(priced.cost))
    }

    /// Whether something that the price needs was not reported.
    #[must_use]
    pub fn is_unreported(&self) -> bool {
        self.tariff.is_unreported(&self.reading)
    }

    /// What was counted.
    #[must_use]
    pub const fn reading(&self) -> &Reading {
        &self.reading
    }
}

impl Scale {
    fn units(self, cost: Cost) -> u64 {
        units(cost, self.unit, self.credit_micros, self.terms)
    }
}

impl Reading {
    fn note(&mut self, position: usize, said: Option<&[u8]>) {
        self.found(position, said.and_then(|said| whole(said.trim_ascii())));
    }

    fn found(&mut self, position: usize, said: Option<u64>) {
        if let (Some(place), Some(_)) = (self.usage.get_mut(position), said) {
            *place = said;
        }
    }
}

#[cfg(test)]
mod tests;
