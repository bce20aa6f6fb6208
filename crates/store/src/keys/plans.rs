//! Plans, and templates of keys.

use facilitator::point::Act;
use gate::{Fault, KeyRefusal, Plan};
use rusqlite::{Connection, params};

use super::whole;
use crate::handle::Handle;
use crate::rows::{corrupt, unsigned};
use crate::writer::Batch;

const PLANS_MAX: u64 = 100;
const TEMPLATES_MAX: u64 = 100;

impl Handle {
    /// The plans, by name, each with the number of its keys.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn plans(&self) -> Result<Vec<(Plan, u64)>, Fault> {
        self.read(|db| {
            let sql = "SELECT name, policy, (SELECT count(*) FROM keys WHERE keys.plan = plans.name AND keys.plan IS NOT NULL)
                       FROM plans ORDER BY name";
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                let policy = serde_json::from_str(row.get_ref(1)?.as_str()?).map_err(|_| corrupt(1))?;
                Ok((Plan { name: row.get(0)?, policy }, unsigned(row, 2)?))
            })?;
            rows.collect()
        })
    }

    /// Writes a plan, whether it is there or not. Its keys have the new policy from then on.
    ///
    /// # Errors
    /// The journal's [`Fault`]. The inner error is for who asked; nothing was written then.
    pub async fn put_plan(&self, plan: Plan, dry_run: bool) -> Result<Result<(), KeyRefusal>, Fault> {
        let work = move |batch: &mut Batch<'_>| {
            if let Err(refusal) = plan.check() {
                return Ok(Err(refusal));
            }
            let policy = serde_json::to_string(&plan.policy);
            let policy = policy.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            put(batch, ("plans", "policy", PLANS_MAX), &plan.name, &policy)
        };
        self.writer.run(&[Act::ChangeKeys], move |batch| whole(batch, dry_run, &work)).await
    }

    /// Takes a plan away. One that keys have stays.
    ///
    /// # Errors
    /// The journal's [`Fault`]. The inner error is for who asked; nothing was written then.
    pub async fn delete_plan(&self, name: String, dry_run: bool) -> Result<Result<(), KeyRefusal>, Fault> {
        let work = move |batch: &mut Batch<'_>| {
            let used = "SELECT EXISTS (SELECT 1 FROM keys WHERE plan = ?1)";
            if batch.db.prepare_cached(used)?.query_row([&name], |row| row.get(0))? {
                return Ok(Err(KeyRefusal::PlanInUse));
            }
            delete(batch.db, "plans", &name, KeyRefusal::UnknownPlan)
        };
        self.writer.run(&[Act::ChangeKeys], move |batch| whole(batch, dry_run, &work)).await
    }

    /// The templates, by name: each with what its maker wrote.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn templates(&self) -> Result<Vec<(String, String)>, Fault> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT name, body FROM templates ORDER BY name")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// Writes a template, whether it is there or not.
    ///
    /// # Errors
    /// The journal's [`Fault`]. The inner error is for who asked; nothing was written then.
    pub async fn put_template(
        &self,
        name: String,
        body: String,
        dry_run: bool,
    ) -> Result<Result<(), KeyRefusal>, Fault> {
        let work = move |batch: &mut Batch<'_>| put(batch, ("templates", "body", TEMPLATES_MAX), &name, &body);
        self.writer.run(&[Act::ChangeKeys], move |batch| whole(batch, dry_run, &work)).await
    }

    /// Takes a template away. Keys that were made of it stay.
    ///
    /// # Errors
    /// The journal's [`Fault`]. The inner error is for who asked; nothing was written then.
    pub async fn delete_template(&self, name: String, dry_run: bool) -> Result<Result<(), KeyRefusal>, Fault> {
        let work = move |batch: &mut Batch<'_>| delete(batch.db, "templates", &name, KeyRefusal::UnknownTemplate);
        self.writer.run(&[Act::ChangeKeys], move |batch| whole(batch, dry_run, &work)).await
    }
}

fn put(
    batch: &mut Batch<'_>,
    (table, column, most): (&'static str, &'static str, u64),
    name: &str,
    text: &str,
) -> rusqlite::Result<Result<(), KeyRefusal>> {
    let sql =
        format!("INSERT INTO {table} (name, {column}) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET {column} = ?2");
    batch.db.prepare_cached(&sql)?.execute(params![name, text])?;
    let count = batch.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| unsigned(row, 0))?;
    if count > most {
        return Ok(Err(KeyRefusal::TooMany { field: table, most }));
    }
    batch.rekeyed = true;
    Ok(Ok(()))
}

fn delete(db: &Connection, table: &str, name: &str, missing: KeyRefusal) -> rusqlite::Result<Result<(), KeyRefusal>> {
    let deleted = db.prepare_cached(&format!("DELETE FROM {table} WHERE name = ?1"))?.execute([name])?;
    Ok(if deleted == 0 { Err(missing) } else { Ok(()) })
}
