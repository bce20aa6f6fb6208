//! Plans and templates.

use serde::{Deserialize, Serialize};
use store::Subject;
use utoipa::ToSchema;

use super::{desk, reader, refusal, shapes};
use crate::accounts::desk::{NewKey, PlanView, Template};
use crate::admin::api::Api;
use crate::admin::ask::{Ask, reply};
use crate::admin::endpoint::Outcome;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct PlanBody {
    #[schema(value_type = shapes::Policy)]
    policy: gate::Policy,
}

#[derive(Serialize)]
struct Plans {
    plans: Vec<PlanView>,
}

#[derive(Serialize)]
struct Templates {
    templates: Vec<Template>,
}

/// It is there no more.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Removed {
    name: String,
}

pub(in crate::admin) async fn plans(api: &Api, _: &Ask) -> Outcome {
    reply(&Plans { plans: reader(api)?.plans().map_err(refusal)? })
}

pub(in crate::admin) async fn put_plan(api: &Api, ask: &Ask) -> Outcome {
    let (name, body) = (ask.value().to_owned(), ask.body::<PlanBody>()?);
    let desk = desk(api, ask, Subject::Other("plan", name.clone()))?;
    desk.put_plan(gate::Plan { name, policy: body.policy }, false).await.map_err(refusal)?;
    plans(api, ask).await
}

pub(in crate::admin) async fn delete_plan(api: &Api, ask: &Ask) -> Outcome {
    let name = ask.value().to_owned();
    let desk = desk(api, ask, Subject::Other("plan", name.clone()))?;
    desk.delete_plan(&name, false).await.map_err(refusal)?;
    reply(&Removed { name })
}

pub(in crate::admin) async fn templates(api: &Api, _: &Ask) -> Outcome {
    reply(&Templates { templates: reader(api)?.templates().map_err(refusal)? })
}

pub(in crate::admin) async fn put_template(api: &Api, ask: &Ask) -> Outcome {
    let template = Template { name: ask.value().to_owned(), key: ask.body::<NewKey>()? };
    let desk = desk(api, ask, Subject::Other("template", template.name.clone()))?;
    desk.put_template(&template, false).await.map_err(refusal)?;
    reply(&template)
}

pub(in crate::admin) async fn delete_template(api: &Api, ask: &Ask) -> Outcome {
    let name = ask.value().to_owned();
    let desk = desk(api, ask, Subject::Other("template", name.clone()))?;
    desk.delete_template(&name, false).await.map_err(refusal)?;
    reply(&Removed { name })
}
