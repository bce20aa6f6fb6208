//! Keys, plans and tokens.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Asked, Body, Page, get, given, path, post, read};

#[derive(Subcommand)]
pub(in crate::operator) enum Keys {
    /// Make a key. Its secret is printed once.
    Create {
        #[command(flatten)]
        new: New,
    },
    /// Keys, filtered, sorted, a page at a time.
    List(Filter),
    /// A key, by its id or alias.
    Get {
        /// Its id or alias.
        key: String,
    },
    /// Write a key anew: what the file does not say stays, a null takes away.
    Update {
        /// Its id or alias.
        key: String,
        #[command(flatten)]
        body: Body,
        /// What it is called.
        #[arg(long)]
        name: Option<String>,
        /// Its plan.
        #[arg(long)]
        plan: Option<String>,
    },
    /// It may not be used, until it is resumed.
    Suspend {
        /// Its id or alias.
        key: String,
    },
    /// It may be used again.
    Resume {
        /// Its id or alias.
        key: String,
    },
    /// It may not be used any more, for good.
    Revoke {
        /// Its id or alias.
        key: String,
    },
    /// Give it another secret, which is printed once.
    Rotate {
        /// Its id or alias.
        key: String,
        /// For how long the one that it has still holds.
        #[arg(long, default_value_t = 0)]
        overlap_s: u64,
    },
    /// Make a key like another, with none of its money.
    Clone {
        /// The other's id or alias.
        key: String,
        /// Its name.
        #[arg(long)]
        name: Option<String>,
        /// Its alias.
        #[arg(long)]
        alias: Option<String>,
        /// What its balance begins with.
        #[arg(long)]
        credits: Option<u64>,
    },
    /// Take keys in, from a file that an export wrote.
    Import {
        /// JSON, or CSV where its name ends so; `-` is JSON on standard input.
        file: PathBuf,
        /// About a key that is there.
        #[arg(long, default_value = "error", value_parser = ["skip", "overwrite", "error"])]
        mode: String,
    },
    /// Print keys without their secrets, a thousand at a time.
    Export {
        #[command(flatten)]
        filter: Filter,
        /// As CSV.
        #[arg(long)]
        csv: bool,
    },
    /// Note something of a key.
    Note {
        /// Its id or alias.
        key: String,
        /// The words.
        text: String,
    },
    /// What a key was used for, in sums of a day, a week and a month.
    Stats {
        /// Its id or alias.
        key: String,
    },
    /// How a key is doing, from 0 to 100.
    Health {
        /// Its id or alias.
        key: String,
    },
}

#[derive(Args)]
pub(in crate::operator) struct New {
    /// What it is called.
    #[arg(long)]
    name: Option<String>,
    /// A unique name that is easier to say than the id.
    #[arg(long)]
    alias: Option<String>,
    /// usd or credit.
    #[arg(long)]
    unit: Option<String>,
    /// What its balance begins with, in its unit.
    #[arg(long)]
    credits: Option<u64>,
    /// Its plan.
    #[arg(long)]
    plan: Option<String>,
    /// The template that it begins as.
    #[arg(long)]
    template: Option<String>,
    /// From when on it has expired, in milliseconds since 1970.
    #[arg(long)]
    expires_at_ms: Option<u64>,
    /// Its calls move no money.
    #[arg(long)]
    sandbox: bool,
    #[command(flatten)]
    body: Body,
}

#[derive(Args)]
pub(in crate::operator) struct Filter {
    /// active, suspended, expired or revoked.
    #[arg(long)]
    status: Option<String>,
    /// With this plan.
    #[arg(long)]
    plan: Option<String>,
    /// Whose name begins so.
    #[arg(long)]
    name_prefix: Option<String>,
    /// With this tag: name, or name=value.
    #[arg(long)]
    tag: Option<String>,
    /// With these words in name, alias, tags or notes.
    #[arg(long)]
    search: Option<String>,
    /// created, name, balance, used, spent or calls.
    #[arg(long)]
    sort: Option<String>,
    /// asc or desc.
    #[arg(long)]
    order: Option<String>,
    #[command(flatten)]
    page: Page,
}

#[derive(Subcommand)]
pub(in crate::operator) enum Plans {
    /// All of them.
    List,
    /// Write one. All of its keys have it from then on.
    Put {
        /// Its name.
        name: String,
        /// A file with the policy in JSON; `-` is standard input.
        policy: PathBuf,
    },
    /// Take one away that no key has.
    Delete {
        /// Its name.
        name: String,
    },
}

#[derive(Subcommand)]
pub(in crate::operator) enum Tokens {
    /// Make one. It is printed once.
    Issue {
        /// The key's id or alias.
        key: String,
        /// For how long it holds, in seconds: a day at most.
        #[arg(long)]
        ttl_s: Option<u64>,
        /// A route that it opens, such as /paid/*; once for each. All of the key's where it is not said.
        #[arg(long)]
        route: Vec<String>,
        /// The same with tools.
        #[arg(long)]
        tool: Vec<String>,
    },
    /// Make one void before its time, by its name. A token itself is not for a command line.
    Revoke {
        /// The key's id or alias.
        key: String,
        /// The token's name of 32 hex digits.
        id: String,
    },
    /// Make all of a key void.
    Void {
        /// The key's id or alias.
        key: String,
    },
    /// Those that are void before their time.
    Revoked,
}

impl Keys {
    pub(super) fn asked(&self) -> anyhow::Result<Asked> {
        let bare = |key: &str, what: &str| -> anyhow::Result<Asked> {
            Ok(Asked { method: "POST".to_owned(), ..get(path(&["keys", key, what])?) })
        };
        Ok(match self {
            Self::Create { new } => post(path(&["keys"])?, new.body()?),
            Self::List(filter) => Asked { query: filter.query(), ..get(path(&["keys"])?) },
            Self::Get { key } => get(path(&["keys", key])?),
            Self::Update { key, body, name, plan } => {
                let body = body.with(json!({ "name": name, "plan": plan }))?;
                // A null of the file takes away, so it is sent.
                Asked { method: "PATCH".to_owned(), body: Some(body), ..get(path(&["keys", key])?) }
            }
            Self::Suspend { key } => bare(key, "suspend")?,
            Self::Resume { key } => bare(key, "resume")?,
            Self::Revoke { key } => bare(key, "revoke")?,
            Self::Rotate { key, overlap_s } => post(path(&["keys", key, "rotate"])?, json!({ "overlap_s": overlap_s })),
            Self::Clone { key, name, alias, credits } => {
                let body = json!({ "name": name, "alias": alias, "credits": credits });
                post(path(&["keys", key, "clone"])?, body)
            }
            Self::Import { file, mode } => post(path(&["keys", "import"])?, imported(file, mode)?),
            Self::Export { filter, csv } => {
                let mut query = filter.query();
                query.extend(csv.then(|| ("format", "csv".to_owned())));
                Asked { query, ..get(path(&["keys", "export"])?) }
            }
            Self::Note { key, text } => post(path(&["keys", key, "notes"])?, json!({ "text": text })),
            Self::Stats { key } => get(path(&["keys", key, "stats"])?),
            Self::Health { key } => get(path(&["keys", key, "health"])?),
        })
    }
}

/// The keys of a file, as the API takes them.
fn imported(file: &std::path::Path, mode: &str) -> anyhow::Result<Value> {
    let text = read(file)?;
    if file.extension().is_some_and(|end| end == "csv") {
        return Ok(json!({ "csv": text, "mode": mode }));
    }
    let keys: Value = serde_json::from_str(&text)?;
    // An export has them beside the place where it goes on.
    let keys = keys.get("keys").cloned().unwrap_or(keys);
    Ok(json!({ "keys": keys, "mode": mode }))
}

impl New {
    fn body(&self) -> anyhow::Result<Value> {
        self.body.with(json!({
            "name": self.name, "alias": self.alias, "unit": self.unit, "credits": self.credits, "plan": self.plan,
            "template": self.template, "expires_at_ms": self.expires_at_ms, "sandbox": self.sandbox.then_some(true),
        }))
    }
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = given(&[
            ("status", &self.status),
            ("plan", &self.plan),
            ("name_prefix", &self.name_prefix),
            ("tag", &self.tag),
            ("search", &self.search),
            ("sort", &self.sort),
            ("order", &self.order),
        ]);
        query.extend(self.page.query());
        query
    }
}

impl Plans {
    pub(super) fn asked(&self) -> anyhow::Result<Asked> {
        Ok(match self {
            Self::List => get(path(&["plans"])?),
            Self::Put { name, policy } => {
                let policy: Value = serde_json::from_str(&read(policy)?)?;
                Asked { method: "PUT".to_owned(), ..post(path(&["plans", name])?, json!({ "policy": policy })) }
            }
            Self::Delete { name } => Asked { method: "DELETE".to_owned(), ..get(path(&["plans", name])?) },
        })
    }
}

impl Tokens {
    pub(super) fn asked(&self) -> anyhow::Result<Asked> {
        Ok(match self {
            Self::Issue { key, ttl_s, route, tool } => {
                let mut body = Map::new();
                body.extend(ttl_s.map(|seconds| ("ttl_s".to_owned(), seconds.into())));
                body.extend((!route.is_empty()).then(|| ("routes".to_owned(), route.clone().into())));
                body.extend((!tool.is_empty()).then(|| ("tools".to_owned(), tool.clone().into())));
                post(path(&["keys", key, "tokens"])?, Value::Object(body))
            }
            Self::Revoke { key, id } => post(path(&["tokens", "revoke"])?, json!({ "key": key, "id": id })),
            Self::Void { key } => Asked { method: "POST".to_owned(), ..get(path(&["keys", key, "tokens", "void"])?) },
            Self::Revoked => get(path(&["tokens", "revoked"])?),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::What;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        what: What,
    }

    #[test]
    fn what_is_asked_for() {
        let id = "0123456789abcdef0123456789abcdef";
        for (line, method, target, body) in [
            (
                vec!["keys", "create", "--name", "shop", "--credits", "5"],
                "POST",
                "/admin/v1/keys",
                json!({ "name": "shop", "credits": 5 }),
            ),
            (
                vec!["keys", "list", "--sort", "name", "--limit", "2"],
                "GET",
                "/admin/v1/keys?sort=name&limit=2",
                Value::Null,
            ),
            (vec!["keys", "suspend", "shop"], "POST", "/admin/v1/keys/shop/suspend", Value::Null),
            (
                vec!["grant", id, "7"],
                "POST",
                "/admin/v1/keys/0123456789abcdef0123456789abcdef/grants",
                json!({ "amount": 7 }),
            ),
            (vec!["transfer", "a", id, "7"], "POST", "/admin/v1/keys/a/transfer", json!({ "to": id, "amount": 7 })),
            (vec!["usage", "--by", "route"], "GET", "/admin/v1/usage/summary?by=route", Value::Null),
            (
                vec!["usage", "--csv", "--key", id],
                "GET",
                "/admin/v1/usage?key=0123456789abcdef0123456789abcdef&format=csv",
                Value::Null,
            ),
            (vec!["maintenance", "end"], "DELETE", "/admin/v1/maintenance", Value::Null),
            (
                vec!["tokens", "issue", "shop", "--route", "/paid/*"],
                "POST",
                "/admin/v1/keys/shop/tokens",
                json!({ "routes": ["/paid/*"] }),
            ),
            (vec!["status"], "GET", "/status", Value::Null),
        ] {
            let what = Line::try_parse_from(std::iter::once("admin").chain(line.iter().copied())).unwrap().what;
            let asked = what.asked().unwrap();
            let query: Vec<String> = asked.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mark = if query.is_empty() { "" } else { "?" };
            assert_eq!(
                (asked.method.as_str(), format!("{}{mark}{}", asked.path, query.join("&")).as_str()),
                (method, target)
            );
            assert_eq!(asked.body.unwrap_or_default(), body, "{line:?}");
        }
        for key in ["../audit", "..", "", "a/b", "a?b"] {
            let what = Line::try_parse_from(["admin", "keys", "get", key]).unwrap().what;
            assert!(what.asked().is_err(), "{key}");
        }
    }
}
