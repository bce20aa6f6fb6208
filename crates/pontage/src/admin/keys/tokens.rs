//! Scoped tokens, and the secrets of signed requests.

use serde::{Deserialize, Serialize};
use store::Subject;
use utoipa::ToSchema;

use super::{at_key, desk, reader, refusal};
use crate::accounts::desk::{RevokeToken, TokenAsk, VoidToken};
use crate::admin::api::Api;
use crate::admin::ask::{Ask, reply};
use crate::admin::endpoint::Outcome;

#[derive(Serialize)]
struct Voided {
    tokens: Vec<VoidToken>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct RotateTokens {
    /// Whether tokens that were made so far are void at once.
    #[serde(default)]
    at_once: bool,
}

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct TokensRotated {
    at_once: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct SigningBody {
    /// Whether it is made anew: the one before holds no more.
    #[serde(default)]
    anew: bool,
}

/// With what a key's holder signs his requests.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct SigningSecret {
    key: String,
    /// Nothing where the request was carried out before.
    #[schema(required = true)]
    secret: Option<String>,
}

pub(in crate::admin) async fn issue(api: &Api, ask: &Ask) -> Outcome {
    let (key, body) = (ask.key(api)?, ask.body::<TokenAsk>()?);
    let made = reader(api)?.issue_token(&key.to_string(), &body, ask.dry_run).await.map_err(refusal)?;
    // A token is written down nowhere; that it was made is.
    if !ask.dry_run {
        ask.noted(&api.journal, Subject::Key(key)).note_act().await?;
    }
    reply(&made)
}

pub(in crate::admin) async fn revoke(api: &Api, ask: &Ask) -> Outcome {
    let body: RevokeToken = ask.body()?;
    let desk = desk(api, ask, Subject::Other("token", body.id.clone().unwrap_or_default()))?;
    reply(&desk.revoke_token(&body, ask.dry_run).await.map_err(refusal)?)
}

pub(in crate::admin) async fn voided(api: &Api, ask: &Ask) -> Outcome {
    reply(&Voided { tokens: reader(api)?.void(ask.text("key")).map_err(refusal)? })
}

pub(in crate::admin) async fn void_all(api: &Api, ask: &Ask) -> Outcome {
    let (desk, key) = at_key(api, ask)?;
    desk.void_tokens(&key, false).await.map_err(refusal)?;
    reply(&reader(api)?.get(&key).map_err(refusal)?)
}

pub(in crate::admin) async fn rotate_tokens(api: &Api, ask: &Ask) -> Outcome {
    let body: RotateTokens = ask.body()?;
    let desk = desk(api, ask, Subject::Other("tokens", "signing key".to_owned()))?;
    desk.rotate_token_key(body.at_once, ask.dry_run).await.map_err(refusal)?;
    reply(&TokensRotated { at_once: body.at_once })
}

pub(in crate::admin) async fn signing(api: &Api, ask: &Ask) -> Outcome {
    let (key, body) = (ask.key(api)?, ask.body::<SigningBody>()?);
    let desk = reader(api)?;
    let secret = desk.signing_secret(&key.to_string(), body.anew, ask.dry_run).await.map_err(refusal)?;
    if !ask.dry_run {
        ask.noted(&api.journal, Subject::Key(key)).note_act().await?;
    }
    reply(&SigningSecret { key: key.to_string(), secret })
}
