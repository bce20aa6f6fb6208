//! What is asked for on the command line, as the API takes it.

mod keys;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use keys::{Keys, Plans, Tokens};

/// The API takes no more.
const BODY_MAX_BYTES: u64 = 1024 * 1024;

/// A request to the API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

#[derive(Subcommand)]
pub(super) enum What {
    /// API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Policies for many keys.
    #[command(subcommand)]
    Plans(Plans),
    /// Scoped tokens of keys.
    #[command(subcommand)]
    Tokens(Tokens),
    /// A key's balance.
    Balance {
        /// The key's id or alias.
        key: String,
    },
    /// What a balance is made of.
    Grants {
        /// The key's id or alias.
        key: String,
    },
    /// Raise a balance.
    Grant {
        /// The key's id or alias.
        key: String,
        /// How much, in the key's unit.
        amount: u64,
        /// What it is called.
        #[arg(long)]
        label: Option<String>,
        /// Lower ones are used first.
        #[arg(long)]
        priority: Option<u8>,
        /// From when on it may not be used, in milliseconds since 1970.
        #[arg(long)]
        expires_at_ms: Option<u64>,
    },
    /// Lower a balance.
    Withdraw {
        /// The key's id or alias.
        key: String,
        /// How much, in the key's unit.
        amount: u64,
    },
    /// Give a part of a balance to another key.
    Transfer {
        /// The key that gives.
        from: String,
        /// The key that gets.
        to: String,
        /// How much, in their unit.
        amount: u64,
    },
    /// Calls that were paid from a balance, newest first.
    Charges {
        /// The key's id or alias.
        key: String,
        #[command(flatten)]
        page: Page,
    },
    /// Give back what was taken for a call.
    Refund {
        /// The charge's name of 32 hex digits.
        charge: String,
        /// How much in all; everything where it is not said.
        amount: Option<u64>,
    },
    /// Calls of all keys, newest first, or in sums.
    Usage(UsageArgs),
    /// What was done through the API.
    Audit {
        /// Of this admin.
        #[arg(long)]
        who: Option<String>,
        /// This act, such as grant.
        #[arg(long)]
        action: Option<String>,
        /// About this, such as key: and its name.
        #[arg(long)]
        subject: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Who may use the API.
    #[command(subcommand)]
    Admins(Admins),
    /// Take no calls, or take them again.
    #[command(subcommand)]
    Maintenance(Maintenance),
    /// Whether calls are taken.
    Status,
    /// Copy the journal into `backups` beside it.
    Backup,
    /// Ask for anything that the API has: docs/admin-openapi.json lists it.
    Api {
        /// GET, POST, PUT, PATCH or DELETE.
        method: String,
        /// Such as /admin/v1/me, with its query.
        path: String,
        #[command(flatten)]
        body: Body,
    },
}

/// Which page.
#[derive(Args)]
pub(super) struct Page {
    /// At most so many.
    #[arg(long)]
    limit: Option<u64>,
    /// Where the page before said that it goes on.
    #[arg(long)]
    cursor: Option<String>,
}

/// A body in JSON.
#[derive(Args)]
pub(super) struct Body {
    /// A file with the body in JSON; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct UsageArgs {
    /// Of this key.
    #[arg(long)]
    key: Option<String>,
    /// Of this route.
    #[arg(long)]
    route: Option<String>,
    /// open, captured, released or burnt.
    #[arg(long)]
    state: Option<String>,
    /// Since then, in milliseconds since 1970.
    #[arg(long)]
    from_ms: Option<u64>,
    /// Before then.
    #[arg(long)]
    to_ms: Option<u64>,
    /// Booked under this tag: name=value.
    #[arg(long)]
    tag: Option<String>,
    /// In sums: by key, route or day.
    #[arg(long, value_enum, conflicts_with_all = ["csv", "by_tag", "limit", "cursor"])]
    by: Option<By>,
    /// In sums by the value of this tag.
    #[arg(long, conflicts_with_all = ["csv", "limit", "cursor"])]
    by_tag: Option<String>,
    /// As CSV.
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    page: Page,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Key,
    Route,
    Day,
}

#[derive(Subcommand)]
pub(super) enum Admins {
    /// All of them, and who was one.
    List,
    /// Make somebody one. His token is printed once.
    Create {
        /// What he is called.
        name: String,
        /// viewer reads, admin changes keys and balances, owner everything.
        #[arg(value_parser = ["viewer", "admin", "owner"])]
        role: String,
    },
    /// End somebody's being one.
    Revoke {
        /// His name of 32 hex digits.
        id: String,
    },
    /// Give somebody another token.
    Rotate {
        /// His name of 32 hex digits.
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum Maintenance {
    /// Whether calls are taken.
    Show,
    /// Take no calls, now or in a window.
    Begin {
        /// What callers are told.
        #[arg(long)]
        message: Option<String>,
        /// From when on, in milliseconds since 1970; now where it is not said.
        #[arg(long)]
        from_ms: Option<u64>,
        /// Until when; until it is ended where it is not said.
        #[arg(long)]
        until_ms: Option<u64>,
    },
    /// Take calls again.
    End,
}

impl What {
    /// The request.
    pub(super) fn asked(&self) -> anyhow::Result<Asked> {
        Ok(match self {
            Self::Keys(keys) => keys.asked()?,
            Self::Plans(plans) => plans.asked()?,
            Self::Tokens(tokens) => tokens.asked()?,
            Self::Balance { key } => get(path(&["keys", key, "balance"])?),
            Self::Grants { key } => get(path(&["keys", key, "grants"])?),
            Self::Grant { key, amount, label, priority, expires_at_ms } => {
                let body = json!({
                    "amount": amount, "label": label, "priority": priority, "expires_at_ms": expires_at_ms,
                });
                post(path(&["keys", key, "grants"])?, body)
            }
            Self::Withdraw { key, amount } => post(path(&["keys", key, "withdraw"])?, json!({ "amount": amount })),
            Self::Transfer { from, to, amount } => {
                post(path(&["keys", from, "transfer"])?, json!({ "to": to, "amount": amount }))
            }
            Self::Charges { key, page } => Asked { query: page.query(), ..get(path(&["keys", key, "charges"])?) },
            Self::Refund { charge, amount } => post(path(&["charges", charge, "refund"])?, json!({ "amount": amount })),
            Self::Usage(usage) => usage.asked()?,
            Self::Audit { who, action, subject, page } => {
                let mut query = page.query();
                query.extend(given(&[("who", who), ("action", action), ("subject", subject)]));
                Asked { query, ..get(path(&["audit"])?) }
            }
            Self::Admins(admins) => admins.asked()?,
            Self::Maintenance(maintenance) => maintenance.asked()?,
            Self::Status => get("/status".to_owned()),
            Self::Backup => Asked { method: "POST".to_owned(), ..get(path(&["backups"])?) },
            Self::Api { method, path, body } => {
                if !path.starts_with('/') {
                    bail!("the path starts with /");
                }
                let (method, body) = (method.to_ascii_uppercase(), body.read()?);
                Asked { method, path: path.clone(), query: Vec::new(), body }
            }
        })
    }
}

impl Admins {
    fn asked(&self) -> anyhow::Result<Asked> {
        let bare = |path: String| Asked { method: "POST".to_owned(), ..get(path) };
        Ok(match self {
            Self::List => get(path(&["admins"])?),
            Self::Create { name, role } => post(path(&["admins"])?, json!({ "name": name, "role": role })),
            Self::Revoke { id } => bare(path(&["admins", id, "revoke"])?),
            Self::Rotate { id } => bare(path(&["admins", id, "rotate"])?),
        })
    }
}

impl Maintenance {
    fn asked(&self) -> anyhow::Result<Asked> {
        let at = path(&["maintenance"])?;
        Ok(match self {
            Self::Show => get(at),
            Self::Begin { message, from_ms, until_ms } => {
                let body = json!({ "message": message, "from_ms": from_ms, "until_ms": until_ms });
                Asked { method: "PUT".to_owned(), ..post(at, body) }
            }
            Self::End => Asked { method: "DELETE".to_owned(), ..get(at) },
        })
    }
}

impl UsageArgs {
    fn asked(&self) -> anyhow::Result<Asked> {
        let mut query =
            given(&[("key", &self.key), ("route", &self.route), ("state", &self.state), ("tag", &self.tag)]);
        query.extend(self.from_ms.map(|ms| ("from_ms", ms.to_string())));
        query.extend(self.to_ms.map(|ms| ("to_ms", ms.to_string())));
        query.extend(self.by_tag.clone().map(|tag| ("by_tag", tag)));
        let by = |by| match by {
            By::Key => "key",
            By::Route => "route",
            By::Day => "day",
        };
        query.extend(self.by.map(|word| ("by", by(word).to_owned())));
        if self.by.is_some() || self.by_tag.is_some() {
            return Ok(Asked { query, ..get(path(&["usage", "summary"])?) });
        }
        query.extend(self.page.query());
        if self.csv {
            query.push(("format", "csv".to_owned()));
        }
        Ok(Asked { query, ..get(path(&["usage"])?) })
    }
}

impl Page {
    fn query(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        limit.into_iter().chain(self.cursor.clone().map(|cursor| ("cursor", cursor))).collect()
    }
}

impl Body {
    fn read(&self) -> anyhow::Result<Option<Value>> {
        self.body.as_deref().map(|path| serde_json::from_str(&read(path)?).context("--body is no JSON")).transpose()
    }

    /// The body of the file, and over it what flags say.
    fn with(&self, flags: Value) -> anyhow::Result<Value> {
        let mut members = match self.read()? {
            None => Map::new(),
            Some(Value::Object(members)) => members,
            Some(_) => bail!("--body is no JSON object"),
        };
        if let Value::Object(flags) = without_nulls(flags) {
            members.extend(flags);
        }
        Ok(Value::Object(members))
    }
}

/// A file's text; `-` is standard input.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(BODY_MAX_BYTES + 1).read_to_string(&mut text).context("standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        file.take(BODY_MAX_BYTES + 1).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    }
    if text.len() as u64 > BODY_MAX_BYTES {
        bail!("{}: the API takes at most 1 MiB", path.display());
    }
    Ok(text)
}

/// A path of the API. A name in it is one segment.
fn path(parts: &[&str]) -> anyhow::Result<String> {
    let mut path = "/admin/v1".to_owned();
    for part in parts {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if part.is_empty() || part.chars().all(|c| c == '.') || !part.bytes().all(plain) {
            bail!("a name in the API has letters, digits, `.`, `_` and `-` alone");
        }
        path.push('/');
        path.push_str(part);
    }
    Ok(path)
}

fn get(path: String) -> Asked {
    Asked { method: "GET".to_owned(), path, query: Vec::new(), body: None }
}

fn post(path: String, body: Value) -> Asked {
    Asked { method: "POST".to_owned(), path, query: Vec::new(), body: Some(without_nulls(body)) }
}

/// What was not said is not sent.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.into_iter().filter(|(_, member)| !member.is_null()).collect()),
        other => other,
    }
}

fn given(members: &[(&'static str, &Option<String>)]) -> Vec<(&'static str, String)> {
    members.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.clone()))).collect()
}
