//! What an endpoint is: the router and the OpenAPI document are made of the same words.

use std::future::Future;
use std::pin::Pin;

use serde_json::{Value, json};
use store::AdminRole;
use utoipa::ToSchema;

use super::api::Api;
use super::ask::Ask;
use super::refused::Refused;

/// One endpoint.
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    /// `{id}` is a name of 32 hex digits, `{name}` one of letters, digits and `._-`.
    pub(super) path: &'static str,
    /// Its name for programs; also what the audit log calls it.
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) tag: &'static str,
    /// The least that who asks must be.
    pub(super) role: AdminRole,
    pub(super) query: &'static [Param],
    pub(super) body: Option<Shape>,
    /// The status of success, and what is answered.
    pub(super) answer: (u16, Shape),
    /// Whether it can be had as CSV as well.
    pub(super) csv: bool,
    pub(super) run: Run,
}

impl Endpoint {
    /// Whether it changes something.
    pub(super) fn mutates(&self) -> bool {
        self.method != "GET"
    }
}

/// A member of the query.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) about: &'static str,
}

/// What a member of the query may be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A whole number, from and to.
    Whole(u64, u64),
    /// One of these.
    Word(&'static [&'static str]),
    /// At most so many characters.
    Text(usize),
    /// 32 hex digits.
    Id,
}

impl Kind {
    /// What is wrong with a value, if anything.
    pub(super) fn refuse(self, value: &str) -> Option<String> {
        match self {
            Self::Whole(least, most) => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let fits = value.parse::<u64>().is_ok_and(|number| (least..=most).contains(&number));
                (!digits || !fits).then(|| format!("This is a whole number from {least} to {most}."))
            }
            Self::Word(words) => (!words.contains(&value)).then(|| format!("This is one of: {}.", words.join(", "))),
            Self::Text(most) => {
                let plain = value.chars().all(|c| !c.is_control());
                let fits = (1..=most).contains(&value.chars().count());
                (!plain || !fits).then(|| format!("This is a text of 1 to {most} characters."))
            }
            Self::Id => (!is_id(value)).then(|| "This is a name of 32 hex digits in lower case.".to_owned()),
        }
    }

    pub(super) fn schema(self) -> Value {
        match self {
            Self::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Self::Word(words) => json!({ "type": "string", "enum": words }),
            Self::Text(most) => {
                json!({ "type": "string", "minLength": 1, "maxLength": most, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" })
            }
            Self::Id => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" }),
        }
    }
}

/// A name of 32 hex digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// What a body looks like.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    name: fn() -> String,
    collect: fn(&mut Vec<(String, Value)>),
}

impl Shape {
    pub(super) const fn of<T: ToSchema>() -> Self {
        Self { name: || T::name().into_owned(), collect: collect::<T> }
    }

    /// Where the document has it.
    pub(super) fn reference(self) -> Value {
        json!({ "$ref": format!("#/components/schemas/{}", (self.name)()) })
    }

    /// It, and everything that it is made of.
    pub(super) fn collect(self, schemas: &mut Vec<(String, Value)>) {
        (self.collect)(schemas);
    }
}

fn collect<T: ToSchema>(schemas: &mut Vec<(String, Value)>) {
    let mut found = Vec::new();
    T::schemas(&mut found);
    found.push((T::name().into_owned(), T::schema()));
    let as_json = |(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default());
    schemas.extend(found.into_iter().map(as_json));
}

/// What is answered where it was done.
pub(super) enum Reply {
    Json(Value),
    /// Rows, and where the next ones begin.
    Csv(String, Option<String>),
}

pub(super) type Outcome = Result<Reply, Refused>;
pub(super) type Run = for<'a> fn(&'a Api, &'a Ask) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A handler as the table has it.
macro_rules! run {
    ($handler:path) => {
        |api, ask| Box::pin($handler(api, ask))
    };
}
pub(super) use run;
