//! Admins, what they did, and when the gate is closed for maintenance.

use facilitator::point::Act;
use gate::Fault;
use rusqlite::{OptionalExtension as _, Row, params};

use crate::handle::Handle;
use crate::note::Note;
use crate::rows::{corrupt, fixed, signed, unsigned};

/// What an admin may do. Each may do what those before him may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminRole {
    /// Reads.
    Viewer,
    /// Changes keys and balances.
    Admin,
    /// Changes admins, closes the gate for maintenance, makes backups.
    Owner,
}

impl AdminRole {
    /// The word in the journal and on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of a word.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        [Self::Viewer, Self::Admin, Self::Owner].into_iter().find(|role| role.code() == code)
    }
}

/// Somebody who may use the admin API. His token is kept as a digest alone, which does not leave the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminRow {
    /// His id.
    pub id: [u8; 16],
    /// What he is called.
    pub name: String,
    /// What he may do.
    pub role: AdminRole,
    /// Since when.
    pub created_at_ms: u64,
    /// Who made him one.
    pub created_by: String,
    /// From when on he is none any more.
    pub revoked_at_ms: Option<u64>,
}

/// Why an admin was not made or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRefusal {
    /// There is no such admin.
    Unknown,
    /// Another one has this name.
    NameTaken,
    /// Nobody could manage admins any more.
    LastOwner,
    /// There may be no more.
    TooMany,
}

/// An act as it was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place in their order.
    pub id: u64,
    /// When.
    pub at_ms: u64,
    /// The admin's name.
    pub who: String,
    /// His role.
    pub role: String,
    /// What he did.
    pub action: String,
    /// With what.
    pub subject: String,
    /// What he asked for, in JSON.
    pub asked: String,
    /// What it was before, in JSON.
    pub before: Option<String>,
    /// What it was after, in JSON.
    pub after: Option<String>,
}

/// Which acts are asked for; what is `None` is not asked about.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only before this place.
    pub before: Option<u64>,
    /// Of whom.
    pub who: Option<String>,
    /// Which.
    pub action: Option<String>,
    /// About what.
    pub subject: Option<String>,
    /// Since when.
    pub from_ms: Option<u64>,
    /// Until when.
    pub to_ms: Option<u64>,
    /// At most so many.
    pub most: u64,
}

/// When calls are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceRow {
    /// From when on.
    pub from_ms: u64,
    /// Until when; `None` until it is ended.
    pub until_ms: Option<u64>,
    /// What callers are told.
    pub message: String,
}

/// An act that is known by its `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRequest {
    /// Digest of what was asked for.
    pub fingerprint: [u8; 32],
    /// What was answered, where that was still written.
    pub answer: Option<(u16, String)>,
}

/// More than a team has.
const ADMINS_MAX: i64 = 1_000;

const ADMIN: &str = "id, name, role, created_at_ms, created_by, revoked_at_ms";

impl Handle {
    /// The same way to the journal, with a note beside each job.
    #[must_use]
    pub fn noted(&self, note: Note) -> Self {
        let mut noted = self.clone();
        noted.writer.note = Some(note.into());
        noted
    }

    /// Whose token this is the digest of, if he is still an admin.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn admin(&self, digest: [u8; 32]) -> Result<Option<AdminRow>, Fault> {
        let sql = format!("SELECT {ADMIN} FROM admins WHERE digest = ?1 AND revoked_at_ms IS NULL");
        self.read(|db| db.prepare_cached(&sql)?.query_row([digest], admin_of).optional())
    }

    /// All admins, those who are none any more among them.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn admins(&self) -> Result<Vec<AdminRow>, Fault> {
        let sql = format!("SELECT {ADMIN} FROM admins ORDER BY created_at_ms, id");
        self.read(|db| db.prepare_cached(&sql)?.query_map([], admin_of)?.collect())
    }

    /// Makes somebody an admin.
    ///
    /// # Errors
    /// The journal's [`Fault`]; the inner error is for who asked.
    pub async fn add_admin(&self, row: AdminRow, digest: [u8; 32]) -> Result<Result<(), AdminRefusal>, Fault> {
        let add = move |batch: &mut crate::writer::Batch<'_>| {
            let taken = "SELECT EXISTS (SELECT 1 FROM admins WHERE name = ?1 AND revoked_at_ms IS NULL AND id <> ?2)";
            if batch.db.prepare_cached(taken)?.query_row(params![row.name, row.id], |row| row.get(0))? {
                return Ok(Err(AdminRefusal::NameTaken));
            }
            let count: i64 = batch.db.query_row("SELECT count(*) FROM admins", [], |row| row.get(0))?;
            if count >= ADMINS_MAX {
                return Ok(Err(AdminRefusal::TooMany));
            }
            let sql =
                "INSERT INTO admins (id, name, digest, role, created_at_ms, created_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                       ON CONFLICT (id) DO NOTHING";
            let at_ms = signed(batch.now_ms)?;
            let values = params![row.id, row.name, digest, row.role.code(), at_ms, row.created_by];
            batch.db.prepare_cached(sql)?.execute(values)?;
            Ok(Ok(()))
        };
        self.writer.run(&[Act::Administer], add).await
    }

    /// Ends somebody's being an admin. `others` is whether somebody can manage admins who is not in the journal.
    ///
    /// # Errors
    /// The journal's [`Fault`]; the inner error is for who asked.
    pub async fn revoke_admin(&self, id: [u8; 16], others: bool) -> Result<Result<(), AdminRefusal>, Fault> {
        let revoke = move |batch: &mut crate::writer::Batch<'_>| {
            let sql = format!("SELECT {ADMIN} FROM admins WHERE id = ?1");
            let Some(row) = batch.db.prepare_cached(&sql)?.query_row([id], admin_of).optional()? else {
                return Ok(Err(AdminRefusal::Unknown));
            };
            let owners = "SELECT count(*) FROM admins WHERE role = 'owner' AND revoked_at_ms IS NULL AND id <> ?1";
            let owners: i64 = batch.db.prepare_cached(owners)?.query_row([id], |row| row.get(0))?;
            if row.role == AdminRole::Owner && row.revoked_at_ms.is_none() && owners == 0 && !others {
                return Ok(Err(AdminRefusal::LastOwner));
            }
            let sql = "UPDATE admins SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL";
            batch.db.prepare_cached(sql)?.execute(params![id, signed(batch.now_ms)?])?;
            Ok(Ok(()))
        };
        self.writer.run(&[Act::Administer], revoke).await
    }

    /// Gives an admin another token. The one that he had is none from now on.
    ///
    /// # Errors
    /// The journal's [`Fault`]; the inner error is for who asked.
    pub async fn rotate_admin(&self, id: [u8; 16], digest: [u8; 32]) -> Result<Result<(), AdminRefusal>, Fault> {
        let rotate = move |batch: &mut crate::writer::Batch<'_>| {
            let sql = "UPDATE admins SET digest = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL";
            let changed = batch.db.prepare_cached(sql)?.execute(params![id, digest])?;
            Ok(if changed == 1 { Ok(()) } else { Err(AdminRefusal::Unknown) })
        };
        self.writer.run(&[Act::Administer], rotate).await
    }

    /// What was done, newest first.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, Fault> {
        let sql = "SELECT id, at_ms, who, role, action, subject, asked, before, after FROM audit
             WHERE id < ?1 AND (?2 IS NULL OR who = ?2) AND (?3 IS NULL OR action = ?3) AND (?4 IS NULL OR subject = ?4)
               AND at_ms >= ?5 AND at_ms < ?6 ORDER BY id DESC LIMIT ?7";
        let bound = |value: Option<u64>, open: i64| value.and_then(|value| i64::try_from(value).ok()).unwrap_or(open);
        self.read(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let values = params![
                bound(query.before, i64::MAX),
                query.who,
                query.action,
                query.subject,
                bound(query.from_ms, 0),
                bound(query.to_ms, i64::MAX),
                signed(query.most)?
            ];
            let read = |row: &Row<'_>| {
                Ok(AuditRow {
                    id: unsigned(row, 0)?,
                    at_ms: unsigned(row, 1)?,
                    who: row.get(2)?,
                    role: row.get(3)?,
                    action: row.get(4)?,
                    subject: row.get(5)?,
                    asked: row.get(6)?,
                    before: row.get(7)?,
                    after: row.get(8)?,
                })
            };
            statement.query_map(values, read)?.collect()
        })
    }

    /// When calls are not taken, if ever.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn maintenance(&self) -> Result<Option<MaintenanceRow>, Fault> {
        let read = |row: &Row<'_>| {
            let until_ms: Option<i64> = row.get(1)?;
            let until_ms = until_ms.map(|ms| u64::try_from(ms).map_err(|_| corrupt(1))).transpose()?;
            Ok(MaintenanceRow { from_ms: unsigned(row, 0)?, until_ms, message: row.get(2)? })
        };
        self.read(|db| db.query_row("SELECT from_ms, until_ms, message FROM maintenance", [], read).optional())
    }

    /// Says when calls are not taken; `None` is never.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn set_maintenance(&self, row: Option<MaintenanceRow>) -> Result<(), Fault> {
        let set = move |batch: &mut crate::writer::Batch<'_>| {
            batch.db.execute("DELETE FROM maintenance", [])?;
            if let Some(row) = &row {
                let until_ms = row.until_ms.map(signed).transpose()?;
                let sql = "INSERT INTO maintenance (one, from_ms, until_ms, message) VALUES (1, ?1, ?2, ?3)";
                batch.db.execute(sql, params![signed(row.from_ms)?, until_ms, row.message])?;
            }
            Ok(())
        };
        self.writer.run(&[Act::Administer], set).await
    }

    /// Notes an act that changed nothing in the journal. It needs a [`Note`].
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn note_act(&self) -> Result<(), Fault> {
        let Some(note) = self.writer.note.clone() else { return Ok(()) };
        let mut plain = self.writer.clone();
        plain.note = None;
        plain.run(&[Act::Administer], move |batch| note.write(batch, None, None)).await
    }

    /// What an act by this digest of an `Idempotency-Key` was, and what it was answered.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub fn known_request(&self, once: [u8; 32]) -> Result<Option<KnownRequest>, Fault> {
        let read = |row: &Row<'_>| {
            let (status, answer): (Option<u16>, Option<String>) = (row.get(1)?, row.get(2)?);
            Ok(KnownRequest { fingerprint: fixed(row, 0)?, answer: status.zip(answer) })
        };
        let sql = "SELECT fingerprint, status, answer FROM admin_requests WHERE id = ?1";
        self.read(|db| db.prepare_cached(sql)?.query_row([once], read).optional())
    }

    /// Keeps the answer of an act for whoever repeats it. It must have no secret in it.
    ///
    /// # Errors
    /// The journal's [`Fault`].
    pub async fn keep_request(&self, once: [u8; 32], status: u16, answer: String) -> Result<(), Fault> {
        let keep = move |batch: &mut crate::writer::Batch<'_>| {
            let sql = "UPDATE admin_requests SET status = ?2, answer = ?3 WHERE id = ?1";
            batch.db.prepare_cached(sql)?.execute(params![once, status, answer]).map(drop)
        };
        self.writer.run(&[Act::Administer], keep).await
    }
}

fn admin_of(row: &Row<'_>) -> rusqlite::Result<AdminRow> {
    let revoked: Option<i64> = row.get(5)?;
    Ok(AdminRow {
        id: fixed(row, 0)?,
        name: row.get(1)?,
        role: AdminRole::parse(row.get_ref(2)?.as_str()?).ok_or_else(|| corrupt(2))?,
        created_at_ms: unsigned(row, 3)?,
        created_by: row.get(4)?,
        revoked_at_ms: revoked.map(|ms| u64::try_from(ms).map_err(|_| corrupt(5))).transpose()?,
    })
}
