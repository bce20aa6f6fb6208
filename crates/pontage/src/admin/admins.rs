//! Admins: who may use this API.

use serde::{Deserialize, Serialize};
use store::{AdminRefusal, AdminRole, AdminRow, Subject};
use utoipa::ToSchema;

use super::api::{Api, is_name};
use super::ask::{Ask, reply};
use super::endpoint::Outcome;
use super::refused::Refused;
use super::who::draw_token;
use crate::host::now_ms;

/// What an admin may do: a viewer reads, an admin changes keys and balances, an owner everything.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Viewer,
    Admin,
    Owner,
}

/// An admin.
#[derive(Serialize, ToSchema)]
pub(super) struct AdminView {
    id: String,
    name: String,
    role: Role,
    created_at_ms: u64,
    created_by: String,
    #[schema(required = true)]
    revoked_at_ms: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Admins {
    admins: Vec<AdminView>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAdmin {
    #[schema(pattern = "^[A-Za-z0-9._-]{1,100}$")]
    name: String,
    role: Role,
}

/// An admin's token. It is shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct AdminToken {
    id: String,
    name: String,
    role: Role,
    /// Nothing where the request was carried out before: who lost it asks for another one.
    #[schema(required = true)]
    token: Option<String>,
}

/// Who asks.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    name: String,
    role: Role,
}

impl Role {
    const fn of(role: AdminRole) -> Self {
        match role {
            AdminRole::Viewer => Self::Viewer,
            AdminRole::Admin => Self::Admin,
            AdminRole::Owner => Self::Owner,
        }
    }

    const fn row(self) -> AdminRole {
        match self {
            Self::Viewer => AdminRole::Viewer,
            Self::Admin => AdminRole::Admin,
            Self::Owner => AdminRole::Owner,
        }
    }
}

pub(super) async fn me(_: &Api, ask: &Ask) -> Outcome {
    reply(&Me { name: ask.who.name.clone(), role: Role::of(ask.who.role) })
}

pub(super) async fn list(api: &Api, _: &Ask) -> Outcome {
    reply(&Admins { admins: api.journal.admins()?.into_iter().map(view).collect() })
}

pub(super) async fn create(api: &Api, ask: &Ask) -> Outcome {
    let body: NewAdmin = ask.body()?;
    if !is_name(&body.name) || body.name == "bootstrap" {
        let message = "This is a name of 1 to 100 letters, digits, `.`, `_` and `-`, and not `bootstrap`.";
        return Err(Refused::field("name", message));
    }
    let (token, digest) = draw_token();
    let row = AdminRow {
        id: ask.name(),
        name: body.name,
        role: body.role.row(),
        created_at_ms: now_ms(),
        created_by: ask.who.name.clone(),
        revoked_at_ms: None,
    };
    let noted = ask.noted(&api.journal, Subject::Admin(row.id));
    noted.add_admin(row.clone(), digest).await?.map_err(refusal)?;
    shown(&row, token)
}

pub(super) async fn revoke(api: &Api, ask: &Ask) -> Outcome {
    let id = ask.id()?;
    let noted = ask.noted(&api.journal, Subject::Admin(id));
    noted.revoke_admin(id, api.door.has_bootstrap()).await?.map_err(refusal)?;
    reply(&view(known(api, id)?))
}

pub(super) async fn rotate(api: &Api, ask: &Ask) -> Outcome {
    let (id, (token, digest)) = (ask.id()?, draw_token());
    let noted = ask.noted(&api.journal, Subject::Admin(id));
    noted.rotate_admin(id, digest).await?.map_err(refusal)?;
    shown(&known(api, id)?, token)
}

fn shown(row: &AdminRow, token: String) -> Outcome {
    reply(&AdminToken {
        id: alloy_primitives::hex::encode(row.id),
        name: row.name.clone(),
        role: Role::of(row.role),
        token: Some(token),
    })
}

fn known(api: &Api, id: [u8; 16]) -> Result<AdminRow, Refused> {
    api.journal.admins()?.into_iter().find(|row| row.id == id).ok_or_else(|| Refused::unknown("admin"))
}

fn view(row: AdminRow) -> AdminView {
    AdminView {
        id: alloy_primitives::hex::encode(row.id),
        name: row.name,
        role: Role::of(row.role),
        created_at_ms: row.created_at_ms,
        created_by: row.created_by,
        revoked_at_ms: row.revoked_at_ms,
    }
}

fn refusal(refusal: AdminRefusal) -> Refused {
    match refusal {
        AdminRefusal::Unknown => Refused::unknown("admin"),
        AdminRefusal::NameTaken => Refused::conflict("name_taken", "Another admin has this name."),
        AdminRefusal::LastOwner => {
            Refused::conflict("last_owner", "Nobody could manage admins any more: make another owner first.")
        }
        AdminRefusal::TooMany => Refused::conflict("too_many_admins", "There are 1,000 admins, and no more are kept."),
    }
}
