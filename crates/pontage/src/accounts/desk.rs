//! What the operator does with keys. Each act is one step of the journal; with `dry_run` it is none, and says what would have come of it.

mod ask;
mod csv;
pub(crate) mod import;
mod shelf;
#[cfg(test)]
mod tests;
mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gate::{
    Fault, FaultKind, KeyChange, KeyRecord, KeyRefusal, KeyStep, Note, SecretDigest, new_secret, secret_prefix,
};
use ledger::{Grant, GrantId, GrantSource, KeyId, Unit};
use store::{Done, Handle, KeyFilter, KeyOrder, KeyRow, KeySort, KeyStatus, KeyTask, KeyToMake, NewSecret, Together};

use super::Principal;
use crate::host::{entropy, now_ms};

pub(crate) use ask::{
    BulkItem, CloneAsk, ExportedKey, Format, ImportMode, ItemResult, KeyList, KeyQuery, KeyView, MadeKey, MadeToken,
    NewKey, PlanView, RevokeToken, Template, TokenAsk, VoidToken,
};

/// A balance is at most so much.
const CREDITS_MAX: u64 = 1_000_000_000_000_000;
/// How many keys one act may be about.
const ITEMS_MAX: u64 = 1_000;
const PAGE: u64 = 50;
const PAGE_MAX: u64 = 500;
/// For how long a secret that the operator replaces may still hold, in seconds.
const OVERLAP_MAX_S: u64 = 30 * 86_400;
/// The same where its holder does.
const OWN_OVERLAP_MAX_S: u64 = 86_400;
/// Grants that the operator gives are used after those that end or were meant to go first.
const PRIORITY: u8 = 100;

/// Why something was not done. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeskError {
    /// It cannot be done as it was asked.
    #[error(transparent)]
    Refused(#[from] KeyRefusal),
    /// It cannot be done now.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Where keys are made and changed. Cheap to make; one for each thread.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    journal: Handle,
    default_unit: Unit,
    /// What the next key that is made is called; something drawn where it is not said.
    named: Option<KeyId>,
}

impl Desk {
    pub(crate) fn new(journal: Handle, default_unit: Unit) -> Self {
        Self { journal, default_unit, named: None }
    }

    /// Calls the key that it makes by a name of the caller's.
    pub(crate) fn naming(self, id: KeyId) -> Self {
        Self { named: Some(id), ..self }
    }

    /// Makes a key. Its secret is in the answer, and nowhere else.
    pub(crate) async fn create(&self, asked: &NewKey, dry_run: bool) -> Result<MadeKey, DeskError> {
        let (make, secret) = self.to_make(asked, now_ms())?;
        let key = self.one(KeyTask::Make(make), dry_run).await?;
        Ok(MadeKey { key, secret: (!dry_run).then_some(secret) })
    }

    /// A key by its id or alias.
    pub(crate) fn get(&self, key: &str) -> Result<KeyView, DeskError> {
        let row = self.row(self.find(key)?)?.ok_or(KeyRefusal::UnknownKey)?;
        Ok(view(row, now_ms()))
    }

    /// Keys, a page at a time.
    pub(crate) fn list(&self, query: &KeyQuery) -> Result<KeyList, DeskError> {
        let most = query.limit.unwrap_or(PAGE);
        bounded("limit", most, PAGE_MAX)?;
        let now_ms = now_ms();
        let (mut rows, next) = self.page(query, most, now_ms)?;
        Ok(KeyList { keys: rows.drain(..).map(|row| view(row, now_ms)).collect(), next })
    }

    /// Writes a key anew.
    pub(crate) async fn update(&self, key: &str, change: KeyChange, dry_run: bool) -> Result<KeyView, DeskError> {
        self.step(key, KeyStep::Change(change), dry_run).await
    }

    /// Takes a key a step on: it is suspended, resumed, revoked, noted on, scheduled for.
    pub(crate) async fn step(&self, key: &str, step: KeyStep, dry_run: bool) -> Result<KeyView, DeskError> {
        self.one(KeyTask::Step(self.find(key)?, step), dry_run).await
    }

    /// Gives a key another secret. The one that it has holds for so long besides.
    pub(crate) async fn rotate(&self, key: &str, overlap_s: u64, dry_run: bool) -> Result<MadeKey, DeskError> {
        bounded("overlap_s", overlap_s, OVERLAP_MAX_S)?;
        self.rotate_key(self.find(key)?, overlap_s, false, dry_run).await
    }

    /// The same by the key's holder, every five minutes at most. Only who shows a secret that was not replaced yet may do it: neither a
    /// token nor a leaked old one.
    pub(crate) async fn rotate_own(&self, holder: &Principal, overlap_s: u64) -> Result<MadeKey, DeskError> {
        bounded("overlap_s", overlap_s, OWN_OVERLAP_MAX_S)?;
        if !holder.may_rotate {
            return Err(KeyRefusal::NotItsSecret.into());
        }
        self.rotate_key(holder.key, overlap_s, true, false).await
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        overlap_s: u64,
        by_holder: bool,
        dry_run: bool,
    ) -> Result<MadeKey, DeskError> {
        let (new, secret) = replacement(overlap_s, by_holder, now_ms())?;
        let key = self.one(KeyTask::Rotate(id, new), dry_run).await?;
        Ok(MadeKey { key, secret: (!dry_run).then_some(secret) })
    }

    /// Makes a key like another: with its plan, its policy, its tags and its end, and none of its money, secrets, notes and schedule.
    pub(crate) async fn clone_key(&self, key: &str, asked: &CloneAsk, dry_run: bool) -> Result<MadeKey, DeskError> {
        let like = self.journal.key(self.find(key)?)?.ok_or(KeyRefusal::UnknownKey)?;
        let new = NewKey {
            template: None,
            name: Some(asked.name.clone().unwrap_or(like.name)),
            alias: asked.alias.clone(),
            unit: Some(like.unit.code().to_owned()),
            credits: asked.credits,
            plan: like.plan,
            policy: Some(like.policy),
            expires_at_ms: like.expires_at_ms,
            grace_ms: Some(like.grace_ms),
            sunset_at_ms: like.sunset_at_ms,
            sandbox: Some(like.sandbox),
            tags: Some(like.tags),
        };
        self.create(&new, dry_run).await
    }

    /// Does something about many keys in one step, each by itself: one that is refused does not keep the others back.
    pub(crate) async fn bulk(&self, items: &[BulkItem], dry_run: bool) -> Result<Vec<ItemResult>, DeskError> {
        bounded("items", u64::try_from(items.len()).unwrap_or(u64::MAX), ITEMS_MAX)?;
        let now_ms = now_ms();
        let tasks = items.iter().map(|item| self.task(item, now_ms)).collect::<Result<Vec<_>, Fault>>()?;
        Ok(self.all(tasks, Together { dry_run, all_or_none: false }).await?)
    }

    fn task(&self, item: &BulkItem, now_ms: u64) -> Result<Result<(KeyTask, Option<String>), KeyRefusal>, Fault> {
        let id = |key: &str| match self.find(key) {
            Ok(id) => Ok(Ok(id)),
            Err(DeskError::Refused(refusal)) => Ok(Err(refusal)),
            Err(DeskError::Fault(fault)) => Err(fault),
        };
        let step = |key: &str, step: KeyStep| Ok(id(key)?.map(|id| (KeyTask::Step(id, step), None)));
        match item {
            BulkItem::Create { new } => match self.to_make(new, now_ms) {
                Ok((make, secret)) => Ok(Ok((KeyTask::Make(make), Some(secret)))),
                Err(DeskError::Refused(refusal)) => Ok(Err(refusal)),
                Err(DeskError::Fault(fault)) => Err(fault),
            },
            BulkItem::Update { key, change } => step(key, KeyStep::Change(change.clone())),
            BulkItem::Suspend { key } => step(key, KeyStep::Suspend),
            BulkItem::Resume { key } => step(key, KeyStep::Resume),
            BulkItem::Revoke { key } => step(key, KeyStep::Revoke),
            BulkItem::TopUp { key, amount } => {
                let Ok(id) = id(key)? else { return Ok(Err(KeyRefusal::UnknownKey)) };
                let Some(record) = self.journal.key(id)? else { return Ok(Err(KeyRefusal::UnknownKey)) };
                Ok(grant(&record, *amount, "top-up", now_ms).map(|grant| (KeyTask::TopUp(grant), None)))
            }
            BulkItem::Rotate { key, overlap_s } => {
                let rotate = |id| {
                    bounded("overlap_s", *overlap_s, OVERLAP_MAX_S)?;
                    let (new, secret) = replacement(*overlap_s, false, now_ms)?;
                    Ok((KeyTask::Rotate(id, new), Some(secret)))
                };
                Ok(id(key)?.and_then(rotate))
            }
        }
    }

    /// Does tasks together, and tells of each. Those that were refused before they came so far are told of in their place.
    async fn all(
        &self,
        tasks: Vec<Result<(KeyTask, Option<String>), KeyRefusal>>,
        together: Together,
    ) -> Result<Vec<ItemResult>, Fault> {
        let is_refused = together.all_or_none && tasks.iter().any(Result::is_err);
        // What is refused already undoes the others as well.
        let together = Together { dry_run: together.dry_run || is_refused, ..together };
        let (work, kept): (Vec<_>, Vec<_>) = tasks
            .into_iter()
            .map(|task| match task {
                Ok((task, secret)) => (Some(task), Ok(secret)),
                Err(refusal) => (None, Err(refusal)),
            })
            .unzip();
        let mut outcomes = self.journal.change_keys(work.into_iter().flatten().collect(), together).await?.into_iter();
        let mut results = Vec::with_capacity(kept.len());
        for (item, kept) in kept.into_iter().enumerate() {
            let outcome = match kept {
                Ok(secret) => {
                    let missing = Fault::untouched(FaultKind::Invariant);
                    outcomes.next().ok_or(missing)?.map(|(done, record)| (done, record, secret))
                }
                Err(refusal) => Err(refusal),
            };
            results.push(item_result(item, outcome, together.dry_run));
        }
        if together.all_or_none && results.iter().any(|result| result.code.is_some()) {
            for result in results.iter_mut().filter(|result| result.code.is_none()) {
                *result = ItemResult { result: "undone", key: None, secret: None, ..result.clone() };
            }
        }
        Ok(results)
    }

    async fn one(&self, task: KeyTask, dry_run: bool) -> Result<KeyView, DeskError> {
        let opening = match &task {
            KeyTask::Make(make) => make.opening.as_ref().map_or(0, |grant| grant.granted),
            KeyTask::TopUp(grant) => grant.granted,
            KeyTask::Import(..) | KeyTask::Step(..) | KeyTask::Rotate(..) => 0,
        };
        let outcomes = self.journal.change_keys(vec![task], Together { dry_run, all_or_none: false }).await?;
        let outcome = outcomes.into_iter().next().ok_or(Fault::untouched(FaultKind::Invariant))?;
        let (_, record) = outcome?;
        // What was only tried is not there; it is told as it would be.
        let row = match self.row(record.id)? {
            Some(row) => KeyRow { record, ..row },
            None => nothing(record),
        };
        let balance = if dry_run { row.balance.saturating_add(opening) } else { row.balance };
        Ok(view(KeyRow { balance, ..row }, now_ms()))
    }

    /// The name of a key that is called by it, or by its alias.
    pub(crate) fn find(&self, key: &str) -> Result<KeyId, DeskError> {
        let by_alias = || Ok(self.journal.key_by_alias(key)?.ok_or(KeyRefusal::UnknownKey)?);
        if key.len() == 32 { key.parse().or_else(|_| by_alias()) } else { by_alias() }
    }

    fn row(&self, id: KeyId) -> Result<Option<KeyRow>, Fault> {
        let filter = KeyFilter { id: Some(id), ..KeyFilter::default() };
        Ok(self.journal.keys(&filter, &KeyOrder { most: 1, ..KeyOrder::default() }, now_ms())?.pop())
    }

    /// The rows of a page, and where the next one begins.
    fn page(&self, query: &KeyQuery, most: u64, now_ms: u64) -> Result<(Vec<KeyRow>, Option<String>), DeskError> {
        let sort = query.sort.as_deref().unwrap_or("created");
        let sort_of = match sort {
            "created" => KeySort::Created,
            "name" => KeySort::Name,
            "balance" => KeySort::Balance,
            "used" => KeySort::Used,
            "spent" => KeySort::Spent,
            "calls" => KeySort::Calls,
            _ => return Err(KeyRefusal::BadValue("sort").into()),
        };
        let after = query.cursor.as_deref().map(|cursor| read_cursor(cursor, sort, query.descending)).transpose()?;
        // One more, to know whether there is a next page.
        let order = KeyOrder { sort: sort_of, descending: query.descending, after, most: most.saturating_add(1) };
        let mut rows = self.journal.keys(&filter(query)?, &order, now_ms)?;
        let is_more = u64::try_from(rows.len()).is_ok_and(|rows| rows > most);
        if is_more {
            rows.pop();
        }
        let next = rows.last().filter(|_| is_more).map(|row| cursor(sort, query.descending, row));
        Ok((rows, next))
    }

    fn to_make(&self, asked: &NewKey, now_ms: u64) -> Result<(KeyToMake, String), DeskError> {
        let asked = match &asked.template {
            None => asked.clone(),
            Some(name) => asked.over(self.template(name)?),
        };
        let unit = self.unit(asked.unit.as_deref())?;
        let name = asked.name.ok_or(KeyRefusal::BadValue("name"))?;
        let record = KeyRecord {
            alias: asked.alias,
            expires_at_ms: asked.expires_at_ms,
            grace_ms: asked.grace_ms.unwrap_or_default(),
            sunset_at_ms: asked.sunset_at_ms,
            plan: asked.plan,
            policy: asked.policy.unwrap_or_default(),
            sandbox: asked.sandbox.unwrap_or_default(),
            tags: asked.tags.unwrap_or_default(),
            ..KeyRecord::new(self.named.unwrap_or_else(|| KeyId(entropy())), unit, name, now_ms)
        };
        let secret = new_secret(entropy());
        Ok((key_to_make(record, &secret, asked.credits.unwrap_or_default(), now_ms)?, secret))
    }

    fn unit(&self, word: Option<&str>) -> Result<Unit, KeyRefusal> {
        let Some(word) = word else { return Ok(self.default_unit) };
        // A pass counts calls; a key does not.
        Unit::parse(word).filter(|unit| *unit != Unit::Call).ok_or(KeyRefusal::BadValue("unit"))
    }
}

fn key_to_make(record: KeyRecord, secret: &str, credits: u64, now_ms: u64) -> Result<KeyToMake, KeyRefusal> {
    record.check()?;
    let opening = (credits > 0).then(|| grant(&record, credits, "opening", now_ms)).transpose()?;
    let digest = SecretDigest::of_secret(secret).ok_or(KeyRefusal::BadValue("secret"))?;
    Ok(KeyToMake { record, secret: digest, shown: secret_prefix(secret), opening })
}

fn grant(record: &KeyRecord, amount: u64, label: &str, now_ms: u64) -> Result<Grant, KeyRefusal> {
    bounded("credits", amount, CREDITS_MAX)?;
    if amount == 0 {
        return Err(KeyRefusal::BadValue("amount"));
    }
    Ok(Grant {
        id: GrantId(entropy()),
        key: record.id,
        unit: record.unit,
        source: GrantSource::Operator,
        label: label.to_owned(),
        priority: PRIORITY,
        granted: amount,
        left: amount,
        granted_at_ms: now_ms,
        expires_at_ms: None,
    })
}

fn replacement(overlap_s: u64, by_holder: bool, now_ms: u64) -> Result<(NewSecret, String), KeyRefusal> {
    let secret = new_secret(entropy());
    let digest = SecretDigest::of_secret(&secret).ok_or(KeyRefusal::BadValue("secret"))?;
    let old_until_ms = now_ms.saturating_add(overlap_s.saturating_mul(1_000));
    Ok((NewSecret { secret: digest, shown: secret_prefix(&secret), old_until_ms, by_holder }, secret))
}

pub(super) fn bounded(field: &'static str, number: u64, most: u64) -> Result<(), KeyRefusal> {
    if number <= most { Ok(()) } else { Err(KeyRefusal::TooLong { field, most }) }
}

fn view(row: KeyRow, now_ms: u64) -> KeyView {
    let KeyRow { record, shown, balance, calls, spent, used_at_ms, place: _ } = row;
    KeyView { status: record.standing(now_ms).code(), record, shown, balance, calls, spent, used_at_ms }
}

/// A key that is not there.
fn nothing(record: KeyRecord) -> KeyRow {
    let (shown, place) = (Vec::new(), String::new());
    KeyRow { record, shown, balance: 0, calls: 0, spent: 0, used_at_ms: None, place }
}

fn item_result(
    item: usize,
    outcome: Result<(Done, KeyRecord, Option<String>), KeyRefusal>,
    dry_run: bool,
) -> ItemResult {
    match outcome {
        Ok((done, record, secret)) => {
            let result = match done {
                Done::Made => "made",
                Done::Changed => "changed",
                Done::Overwritten => "overwritten",
                Done::Skipped => "skipped",
            };
            // What was there has the secret that it had.
            let secret = secret.filter(|_| !dry_run && matches!(done, Done::Made | Done::Changed));
            // The id of a key that is not made is nobody's.
            let key = (!dry_run || done != Done::Made).then(|| record.id.to_string());
            ItemResult { item, result, key, secret, code: None, message: None }
        }
        Err(refusal) => {
            let (code, message) = (Some(refusal.code()), Some(refusal.to_string()));
            ItemResult { item, result: "refused", key: None, secret: None, code, message }
        }
    }
}

fn filter(query: &KeyQuery) -> Result<KeyFilter, KeyRefusal> {
    let status = match query.status.as_deref() {
        None => None,
        Some("active") => Some(KeyStatus::Active),
        Some("suspended") => Some(KeyStatus::Suspended),
        Some("expired") => Some(KeyStatus::Expired),
        Some("revoked") => Some(KeyStatus::Revoked),
        Some(_) => return Err(KeyRefusal::BadValue("status")),
    };
    for (field, number) in [
        ("balance_min", query.balance_min),
        ("balance_max", query.balance_max),
        ("expires_before_ms", query.expires_before_ms),
    ] {
        bounded(field, number.unwrap_or_default(), i64::MAX.unsigned_abs())?;
    }
    for text in [&query.plan, &query.name_prefix, &query.tag, &query.search].into_iter().flatten() {
        bounded("search", u64::try_from(text.len()).unwrap_or(u64::MAX), 500)?;
    }
    let tag = query.tag.as_deref().map(|tag| match tag.split_once('=') {
        Some((tag, value)) => (tag.to_owned(), Some(value.to_owned())),
        None => (tag.to_owned(), None),
    });
    Ok(KeyFilter {
        id: None,
        status,
        plan: query.plan.clone(),
        name_prefix: query.name_prefix.clone(),
        tag,
        sandbox: query.sandbox,
        balance_min: query.balance_min,
        balance_max: query.balance_max,
        ends_before_ms: query.expires_before_ms,
        words: query.search.as_deref().map(str::to_ascii_lowercase),
    })
}

/// Where a page ends. Names hold no line's end.
fn cursor(sort: &str, descending: bool, row: &KeyRow) -> String {
    URL_SAFE_NO_PAD.encode(format!("{sort}\n{descending}\n{}\n{}", row.record.id, row.place))
}

fn read_cursor(text: &str, sort: &str, descending: bool) -> Result<(String, KeyId), KeyRefusal> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        // In another order the place means nothing.
        let rest = text.strip_prefix(&format!("{sort}\n{descending}\n"))?;
        let (id, place) = rest.split_once('\n')?;
        let fits = sort == "name" || place.parse::<i64>().is_ok();
        Some((place.to_owned(), id.parse().ok()?)).filter(|_| fits)
    };
    read().ok_or(KeyRefusal::BadValue("cursor"))
}

/// Notes as a record has them.
fn notes(texts: Vec<String>, now_ms: u64) -> Vec<Note> {
    (1..).zip(texts).map(|(id, text)| Note { id, at_ms: now_ms, text }).collect()
}
