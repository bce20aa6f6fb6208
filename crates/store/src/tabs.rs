//! What counts against the caps. Only the writer writes it, so each sum is read once; it is written once in each batch.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use ledger::{Exposure, Hold, Source};
use protocol::Payer;
use rusqlite::{Connection, OptionalExtension, params};

use crate::rows;

/// Whose sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Payer(Payer),
    Source(Source),
    Gate,
}

/// How many sums are known without reading them.
const SUMS_MAX: usize = 10_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Tabs {
    sums: BTreeMap<Who, i64>,
    /// Whose sum is another one than in the file.
    changed: BTreeSet<Who>,
    /// What was lost by these, on a day and the day before.
    lost: BTreeMap<(Who, i64), u64>,
}

impl Who {
    const fn scope(&self) -> &'static str {
        match self {
            Self::Payer(_) => "payer",
            Self::Source(_) => "source",
            Self::Gate => "gate",
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Payer(payer) => payer.0.as_slice(),
            Self::Source(source) => &source.0,
            Self::Gate => &[],
        }
    }

    /// Whom a hold is counted for.
    fn all(hold: &Hold) -> [Self; 3] {
        [Self::Payer(hold.authorization.key.payer), Self::Source(hold.source), Self::Gate]
    }
}

impl Tabs {
    /// What counts against the caps: what is on the tab of a hold's payer, of its source and of everyone, and for the latter two what
    /// was lost on the day of its claim and the day before.
    pub(crate) fn exposed(&mut self, db: &Connection, hold: &Hold) -> rusqlite::Result<Exposure> {
        let [payer, source, gate] = Who::all(hold);
        let day = day(hold)?;
        Ok(Exposure {
            payer_micros: self.micros(db, payer)?,
            source_micros: self.micros(db, source)?.saturating_add(self.lost(db, source, day)?),
            gate_micros: self.micros(db, gate)?.saturating_add(self.lost(db, gate, day)?),
        })
    }

    /// Notes that what a hold adds to the sums has changed.
    pub(crate) fn change(
        &mut self,
        db: &Connection,
        hold: &Hold,
        before_micros: u64,
        micros: u64,
    ) -> rusqlite::Result<()> {
        let more = rows::signed(micros)?.saturating_sub(rows::signed(before_micros)?);
        if more != 0 {
            for who in Who::all(hold) {
                let sum = self.sum(db, who)?;
                *sum = sum.saturating_add(more);
                self.changed.insert(who);
            }
        }
        Ok(())
    }

    /// Writes that a hold was lost.
    pub(crate) fn lose(&mut self, db: &Connection, hold: &Hold) -> rusqlite::Result<()> {
        self.lost.clear();
        let (day, micros) = (day(hold)?, rows::signed(hold.exposure_micros)?);
        let sql = "INSERT INTO losses VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET micros = micros + excluded.micros";
        for who in [Who::Source(hold.source), Who::Gate] {
            db.prepare_cached(sql)?.execute(params![who.bytes(), day, micros])?;
        }
        db.prepare_cached("DELETE FROM losses WHERE day < ?1 - 7")?.execute([day])?;
        Ok(())
    }

    /// Writes the sums that have changed. Who has nothing on the tab has no row.
    pub(crate) fn write(&mut self, db: &Connection) -> rusqlite::Result<()> {
        for who in std::mem::take(&mut self.changed) {
            let sum = *self.sum(db, who)?;
            if sum == 0 && who != Who::Gate {
                let sql = "DELETE FROM tabs WHERE scope = ?1 AND who = ?2";
                db.prepare_cached(sql)?.execute(params![who.scope(), who.bytes()])?;
            } else {
                let sql = "INSERT INTO tabs VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET micros = excluded.micros";
                db.prepare_cached(sql)?.execute(params![who.scope(), who.bytes(), sum])?;
            }
        }
        if self.sums.len() > SUMS_MAX || self.lost.len() > SUMS_MAX {
            *self = Self::default();
        }
        Ok(())
    }

    fn sum(&mut self, db: &Connection, who: Who) -> rusqlite::Result<&mut i64> {
        match self.sums.entry(who) {
            Entry::Occupied(sum) => Ok(sum.into_mut()),
            Entry::Vacant(place) => {
                let mut statement = db.prepare_cached("SELECT micros FROM tabs WHERE scope = ?1 AND who = ?2")?;
                let found = statement.query_row(params![who.scope(), who.bytes()], |row| row.get(0)).optional()?;
                Ok(place.insert(found.unwrap_or_default()))
            }
        }
    }

    fn micros(&mut self, db: &Connection, who: Who) -> rusqlite::Result<u64> {
        let sum = *self.sum(db, who)?;
        u64::try_from(sum).map_err(|_| rows::corrupt(0))
    }

    fn lost(&mut self, db: &Connection, who: Who, day: i64) -> rusqlite::Result<u64> {
        match self.lost.entry((who, day)) {
            Entry::Occupied(lost) => Ok(*lost.get()),
            Entry::Vacant(place) => {
                let sql = "SELECT coalesce(sum(micros), 0) FROM losses WHERE who = ?1 AND day BETWEEN ?2 - 1 AND ?2";
                let lost =
                    db.prepare_cached(sql)?.query_row(params![who.bytes(), day], |row| rows::unsigned(row, 0))?;
                Ok(*place.insert(lost))
            }
        }
    }
}

/// The day of a claim.
fn day(hold: &Hold) -> rusqlite::Result<i64> {
    rows::signed(hold.opened_at_ms / 86_400_000)
}
