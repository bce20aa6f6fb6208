//! An API key's record, and its life. Time is an argument.

use std::collections::BTreeMap;

use ledger::{KeyId, Unit};
use serde::{Deserialize, Serialize};

use super::policy::{few, good};
use super::words::{key_id, present, unit};
use super::{KeyRefusal, Policy};

const NAME_MAX: usize = 200;
const ALIAS_MAX: usize = 64;
const TAGS_MAX: usize = 20;
const TAG_NAME_MAX: usize = 50;
const TAG_VALUE_MAX: usize = 200;
const NOTES_MAX: usize = 50;
const NOTE_MAX: usize = 1_000;
const SCHEDULE_MAX: usize = 20;
const GRACE_MAX_MS: u64 = 90 * 86_400_000;
/// The end of the year 9999.
const TIME_MAX_MS: u64 = 253_402_300_799_999;
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;

/// What the operator or the schedule has made of a key. That it has expired is a matter of time, and not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It may be used.
    Active,
    /// It may not, until it is resumed.
    Suspended,
    /// It may not be used any more.
    Revoked,
}

/// How a key stands at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStanding {
    /// It may be used.
    Active,
    /// It has expired, and may be used a little longer.
    Grace,
    /// It may not be used, until it is resumed.
    Suspended,
    /// Its time is over.
    Expired,
    /// For good.
    Revoked,
}

impl KeyStanding {
    /// The word for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Grace => "grace",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// Whether the key may be used.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Active | Self::Grace)
    }
}

/// A change that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduled {
    /// Its number among the key's.
    pub id: u32,
    /// When.
    pub at_ms: u64,
    /// What.
    pub act: ScheduledAct,
}

/// What may be scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledAct {
    /// The key is suspended.
    Suspend,
    /// It is resumed.
    Resume,
    /// It is revoked.
    Revoke,
    /// It expires, with its grace after that.
    Expire,
    /// Its balance is raised by so much.
    TopUp(u64),
}

/// What somebody noted of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Its number among the key's.
    pub id: u32,
    /// When.
    pub at_ms: u64,
    /// The words.
    pub text: String,
}

/// An API key, without its secrets and its balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Its name, which is its account's. It stays when the secret is rotated.
    #[serde(with = "key_id")]
    pub id: KeyId,
    /// What its balance is counted in.
    #[serde(with = "unit")]
    pub unit: Unit,
    /// What the operator calls it; not unique.
    pub name: String,
    /// A unique name that is easier to say than the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What was made of it.
    pub state: KeyState,
    /// When it was made.
    pub created_at_ms: u64,
    /// From when on it has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// For how long after that it may still be used.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub grace_ms: u64,
    /// The day that its holder was told: from then on it has expired, without grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset_at_ms: Option<u64>,
    /// The plan whose policy it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What it has of its own, over the plan's.
    #[serde(default)]
    pub policy: Policy,
    /// Whether its calls move no money.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sandbox: bool,
    /// Words of the operator's to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What was noted, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What is to come, soonest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Scheduled>,
    /// The highest number that a note or a scheduled change has had.
    #[serde(default)]
    pub numbered: u32,
    /// Which of its signing secrets holds, counted from 0.
    #[serde(default)]
    pub signing_round: u32,
    /// When its secret was last rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<u64>,
    /// Scoped tokens that were issued before are void.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_after_ms: u64,
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What of a key is written anew. What is not there stays; a null takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyChange {
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The alias.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub alias: Option<Option<String>>,
    /// When it expires.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<Option<u64>>,
    /// For how long after that it may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// The day that its holder is told.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub sunset_at_ms: Option<Option<u64>>,
    /// The plan.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub plan: Option<Option<String>>,
    /// All that it has of its own over the plan's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Whether its calls move no money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
    /// Tags to set, or with a null to take away.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, Option<String>>,
}

/// What is done to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStep {
    /// It is written anew.
    Change(KeyChange),
    /// It may not be used.
    Suspend,
    /// It may be used again.
    Resume,
    /// It may not be used any more.
    Revoke,
    /// Something is noted.
    Note(String),
    /// A note is taken away.
    Unnote(u32),
    /// Something is to come.
    Schedule(u64, ScheduledAct),
    /// It is not to come after all.
    Unschedule(u32),
    /// Its signing secret is another one from now on.
    RotateSigning,
    /// Scoped tokens that were issued so far are void.
    VoidTokens,
}

impl KeyRecord {
    /// A new key.
    #[must_use]
    pub fn new(id: KeyId, unit: Unit, name: String, now_ms: u64) -> Self {
        Self {
            id,
            unit,
            name,
            alias: None,
            state: KeyState::Active,
            created_at_ms: now_ms,
            expires_at_ms: None,
            grace_ms: 0,
            sunset_at_ms: None,
            plan: None,
            policy: Policy::default(),
            sandbox: false,
            tags: BTreeMap::new(),
            notes: Vec::new(),
            schedule: Vec::new(),
            numbered: 0,
            signing_round: 0,
            rotated_at_ms: None,
            tokens_after_ms: 0,
        }
    }

    /// How it stands at a time. What is due by then counts, whether it was carried out or not.
    #[must_use]
    pub fn standing(&self, now_ms: u64) -> KeyStanding {
        let (mut state, mut expires_at_ms) = (self.state, self.expires_at_ms);
        for due in self.schedule.iter().take_while(|due| due.at_ms <= now_ms) {
            (state, expires_at_ms) = after(state, expires_at_ms, due);
        }
        let grace_ends = expires_at_ms.map(|expires| expires.saturating_add(self.grace_ms));
        let is_over = |ends: Option<u64>| ends.is_some_and(|ends| now_ms >= ends);
        match state {
            KeyState::Revoked => KeyStanding::Revoked,
            KeyState::Active | KeyState::Suspended if is_over(grace_ends) || is_over(self.sunset_at_ms) => {
                KeyStanding::Expired
            }
            KeyState::Suspended => KeyStanding::Suspended,
            KeyState::Active if is_over(expires_at_ms) => KeyStanding::Grace,
            KeyState::Active => KeyStanding::Active,
        }
    }

    /// From when on it has expired, its grace included. `None` is never.
    #[must_use]
    pub fn ends_at_ms(&self) -> Option<u64> {
        let expires = self.expires_at_ms.map(|expires| expires.saturating_add(self.grace_ms));
        expires.into_iter().chain(self.sunset_at_ms).min()
    }

    /// From when on it may not be used, as things are at a time. `None` is never.
    #[must_use]
    pub fn closes_at_ms(&self, now_ms: u64) -> Option<u64> {
        let ends = |expires: u64| expires.saturating_add(self.grace_ms);
        let scheduled = self.schedule.iter().map(|due| match due.act {
            ScheduledAct::Expire => ends(due.at_ms),
            ScheduledAct::Suspend | ScheduledAct::Resume | ScheduledAct::Revoke | ScheduledAct::TopUp(_) => due.at_ms,
        });
        let times = scheduled.chain(self.expires_at_ms.map(ends)).chain(self.sunset_at_ms);
        times.filter(|at_ms| *at_ms > now_ms && !self.standing(*at_ms).is_usable()).min()
    }

    /// Carries out what is due, and says what of it raises the balance: by the change's number, so that it happens once.
    #[must_use]
    pub fn carried_out(&self, now_ms: u64) -> (Self, Vec<(u32, u64)>) {
        let (mut record, mut grants) = (self.clone(), Vec::new());
        let due = record.schedule.iter().take_while(|due| due.at_ms <= now_ms).count();
        for due in record.schedule.drain(..due) {
            match due.act {
                ScheduledAct::TopUp(amount) if record.state != KeyState::Revoked => grants.push((due.id, amount)),
                ScheduledAct::TopUp(_)
                | ScheduledAct::Suspend
                | ScheduledAct::Resume
                | ScheduledAct::Revoke
                | ScheduledAct::Expire => {}
            }
            (record.state, record.expires_at_ms) = after(record.state, record.expires_at_ms, &due);
        }
        (record, grants)
    }

    /// The key after a step. A revoked one can only be noted on.
    ///
    /// # Errors
    /// [`KeyRefusal`].
    pub fn step(&self, step: KeyStep, now_ms: u64) -> Result<Self, KeyRefusal> {
        let mut record = self.clone();
        let is_noted = matches!(step, KeyStep::Note(_) | KeyStep::Unnote(_) | KeyStep::Revoke);
        if self.state == KeyState::Revoked && !is_noted {
            return Err(KeyRefusal::Revoked);
        }
        match step {
            KeyStep::Change(change) => record.change(change),
            KeyStep::Suspend => record.state = KeyState::Suspended,
            KeyStep::Resume => record.state = KeyState::Active,
            KeyStep::Revoke => {
                record.state = KeyState::Revoked;
                record.schedule.clear();
            }
            KeyStep::Note(text) => {
                let id = record.next_number()?;
                record.notes.push(Note { id, at_ms: now_ms, text });
            }
            KeyStep::Unnote(id) => {
                record.notes.retain(|note| note.id != id);
                gone("notes", record.notes.len(), self.notes.len())?;
            }
            KeyStep::Schedule(at_ms, act) => {
                // What was to be long ago is a mistake, not a wish.
                good("at_ms", at_ms >= now_ms && at_ms <= TIME_MAX_MS)?;
                if let ScheduledAct::TopUp(amount) = act {
                    good("amount", (1..=AMOUNT_MAX).contains(&amount))?;
                }
                let id = record.next_number()?;
                record.schedule.push(Scheduled { id, at_ms, act });
                record.schedule.sort_by_key(|due| (due.at_ms, due.id));
            }
            KeyStep::Unschedule(id) => {
                record.schedule.retain(|due| due.id != id);
                gone("schedule", record.schedule.len(), self.schedule.len())?;
            }
            KeyStep::RotateSigning => record.signing_round = record.signing_round.saturating_add(1),
            KeyStep::VoidTokens => record.tokens_after_ms = now_ms,
        }
        record.check()?;
        Ok(record)
    }

    fn change(&mut self, change: KeyChange) {
        let KeyChange { name, alias, expires_at_ms, grace_ms, sunset_at_ms, plan, policy, sandbox, tags } = change;
        self.name = name.unwrap_or_else(|| self.name.clone());
        self.alias = alias.unwrap_or_else(|| self.alias.clone());
        self.expires_at_ms = expires_at_ms.unwrap_or(self.expires_at_ms);
        self.grace_ms = grace_ms.unwrap_or(self.grace_ms);
        self.sunset_at_ms = sunset_at_ms.unwrap_or(self.sunset_at_ms);
        self.plan = plan.unwrap_or_else(|| self.plan.clone());
        self.policy = policy.unwrap_or_else(|| self.policy.clone());
        self.sandbox = sandbox.unwrap_or(self.sandbox);
        for (tag, value) in tags {
            match value {
                Some(value) => drop(self.tags.insert(tag, value)),
                None => drop(self.tags.remove(&tag)),
            }
        }
    }

    fn next_number(&mut self) -> Result<u32, KeyRefusal> {
        let most = KeyRefusal::TooMany { field: "notes", most: u64::from(u32::MAX) };
        self.numbered = self.numbered.checked_add(1).ok_or(most)?;
        Ok(self.numbered)
    }

    /// Whether its sizes and numbers are within bounds.
    ///
    /// # Errors
    /// [`KeyRefusal`], with the field.
    pub fn check(&self) -> Result<(), KeyRefusal> {
        text("name", &self.name, NAME_MAX)?;
        good("name", !self.name.is_empty() && !self.name.chars().any(char::is_control))?;
        good("alias", self.alias.as_deref().is_none_or(is_name))?;
        good("plan", self.plan.as_deref().is_none_or(is_name))?;
        good("expires_at_ms", self.expires_at_ms.is_none_or(|at_ms| at_ms <= TIME_MAX_MS))?;
        good("sunset_at_ms", self.sunset_at_ms.is_none_or(|at_ms| at_ms <= TIME_MAX_MS))?;
        good("grace_ms", self.grace_ms <= GRACE_MAX_MS)?;
        few("tags", self.tags.len(), TAGS_MAX)?;
        for (tag, value) in &self.tags {
            text("tags", tag, TAG_NAME_MAX)?;
            text("tags", value, TAG_VALUE_MAX)?;
            good("tags", !tag.is_empty() && !tag.chars().chain(value.chars()).any(char::is_control))?;
        }
        few("notes", self.notes.len(), NOTES_MAX)?;
        for note in &self.notes {
            text("notes", &note.text, NOTE_MAX)?;
            good("notes", !note.text.is_empty())?;
        }
        few("schedule", self.schedule.len(), SCHEDULE_MAX)?;
        self.policy.check()
    }
}

/// What a scheduled change makes of a key.
fn after(state: KeyState, expires_at_ms: Option<u64>, due: &Scheduled) -> (KeyState, Option<u64>) {
    match (due.act, state) {
        (_, KeyState::Revoked) | (ScheduledAct::TopUp(_), _) => (state, expires_at_ms),
        (ScheduledAct::Suspend, _) => (KeyState::Suspended, expires_at_ms),
        (ScheduledAct::Resume, _) => (KeyState::Active, expires_at_ms),
        (ScheduledAct::Revoke, _) => (KeyState::Revoked, expires_at_ms),
        (ScheduledAct::Expire, _) => (state, Some(expires_at_ms.map_or(due.at_ms, |at_ms| at_ms.min(due.at_ms)))),
    }
}

/// Names that stand in URLs and commands. One that could be taken for a key's id or a secret is none.
pub(super) fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    starts && text.len() <= ALIAS_MAX && text.bytes().all(is_letter) && !is_id && !text.starts_with("pg_")
}

fn text(field: &'static str, text: &str, most: usize) -> Result<(), KeyRefusal> {
    if text.chars().count() <= most {
        return Ok(());
    }
    Err(KeyRefusal::TooLong { field, most: u64::try_from(most).unwrap_or(u64::MAX) })
}

fn gone(field: &'static str, left: usize, before: usize) -> Result<(), KeyRefusal> {
    if left < before { Ok(()) } else { Err(KeyRefusal::UnknownItem(field)) }
}

#[cfg(test)]
mod tests;
