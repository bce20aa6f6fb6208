//! Plans, and templates.

use gate::{KeyRecord, KeyRefusal, Plan};
use ledger::{KeyId, Unit};

use super::{Desk, DeskError, NewKey, PlanView, Template};

impl Desk {
    /// The plans, by name.
    pub(crate) fn plans(&self) -> Result<Vec<PlanView>, DeskError> {
        Ok(self.journal.plans()?.into_iter().map(|(plan, keys)| PlanView { plan, keys }).collect())
    }

    /// Writes a plan, whether it is there or not. All of its keys have the new policy from then on.
    pub(crate) async fn put_plan(&self, plan: Plan, dry_run: bool) -> Result<(), DeskError> {
        Ok(self.journal.put_plan(plan, dry_run).await??)
    }

    /// Takes a plan away that no key has.
    pub(crate) async fn delete_plan(&self, name: &str, dry_run: bool) -> Result<(), DeskError> {
        Ok(self.journal.delete_plan(name.to_owned(), dry_run).await??)
    }

    /// The templates, by name.
    pub(crate) fn templates(&self) -> Result<Vec<Template>, DeskError> {
        self.journal.templates()?.into_iter().map(|(name, body)| Ok(Template { key: read(&body)?, name })).collect()
    }

    /// Writes a template, whether it is there or not. Keys that were made of it stay as they are.
    pub(crate) async fn put_template(&self, template: &Template, dry_run: bool) -> Result<(), DeskError> {
        let Template { name, key } = template;
        // A plan's name is a name by the same rules. What a key of it would be is checked as a key, but for its own names.
        Plan { name: name.clone(), policy: key.policy.clone().unwrap_or_default() }.check()?;
        self.unit(key.unit.as_deref())?;
        if key.template.is_some() {
            return Err(KeyRefusal::BadValue("template").into());
        }
        if key.alias.is_some() {
            return Err(KeyRefusal::BadValue("alias").into());
        }
        let record = KeyRecord {
            plan: key.plan.clone(),
            expires_at_ms: key.expires_at_ms,
            grace_ms: key.grace_ms.unwrap_or_default(),
            sunset_at_ms: key.sunset_at_ms,
            tags: key.tags.clone().unwrap_or_default(),
            ..KeyRecord::new(KeyId([0; 16]), Unit::Credit, key.name.clone().unwrap_or_else(|| name.clone()), 0)
        };
        record.check()?;
        super::bounded("credits", key.credits.unwrap_or_default(), super::CREDITS_MAX)?;
        let body = serde_json::to_string(key).map_err(|_| KeyRefusal::BadValue("key"))?;
        Ok(self.journal.put_template(name.clone(), body, dry_run).await??)
    }

    /// Takes a template away. Keys that were made of it stay.
    pub(crate) async fn delete_template(&self, name: &str, dry_run: bool) -> Result<(), DeskError> {
        Ok(self.journal.delete_template(name.to_owned(), dry_run).await??)
    }

    pub(super) fn template(&self, name: &str) -> Result<NewKey, DeskError> {
        let found = self.journal.templates()?.into_iter().find(|(known, _)| known == name);
        let (_, body) = found.ok_or(KeyRefusal::UnknownTemplate)?;
        Ok(read(&body)?)
    }
}

fn read(body: &str) -> Result<NewKey, KeyRefusal> {
    serde_json::from_str(body).map_err(|_| KeyRefusal::BadValue("template"))
}

impl NewKey {
    /// What is asked for, over a template.
    pub(super) fn over(&self, template: Self) -> Self {
        let asked = self.clone();
        Self {
            template: None,
            name: asked.name.or(template.name),
            alias: asked.alias,
            unit: asked.unit.or(template.unit),
            credits: asked.credits.or(template.credits),
            plan: asked.plan.or(template.plan),
            policy: asked.policy.or(template.policy),
            expires_at_ms: asked.expires_at_ms.or(template.expires_at_ms),
            grace_ms: asked.grace_ms.or(template.grace_ms),
            sunset_at_ms: asked.sunset_at_ms.or(template.sunset_at_ms),
            sandbox: asked.sandbox.or(template.sandbox),
            tags: asked.tags.or(template.tags),
        }
    }
}
