//! What the public is told about the service, and what web pages may read of it.

use super::optional;
use super::reader::{Fields, Node, Reader};
use super::route::words;
use super::url::{check_url, https, origin_of, url};

const MAX_KEYWORDS: usize = 10;
const MAX_ORIGINS: usize = 100;
const URL_FIX: &str = "write an address such as \"https://api.example.com\".";

/// `discovery`: what the public is told about the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiscoveryConfig {
    /// Whether it may be listed at all.
    pub(crate) discoverable: bool,
    /// The service's public address.
    pub(crate) base_url: Option<String>,
    /// At most 60 characters.
    pub(crate) name: Option<String>,
    /// At most 200 characters.
    pub(crate) description: Option<String>,
    /// At most 10, each of at most 30 characters.
    pub(crate) keywords: Vec<String>,
    pub(crate) category: Option<String>,
    /// https only.
    pub(crate) website: Option<String>,
    pub(crate) docs_url: Option<String>,
    /// Who is told hourly that the service is there. Nobody unless it is written.
    pub(crate) heartbeat_url: Option<String>,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            discoverable: true,
            base_url: None,
            name: None,
            description: None,
            keywords: Vec::new(),
            category: None,
            website: None,
            docs_url: None,
            heartbeat_url: None,
        }
    }
}

/// Reads `discovery`.
pub(super) fn discovery<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<DiscoveryConfig> {
    let fields = reader.section(fields, "discovery", "discovery")?;
    let discoverable = optional(reader, &fields, "discoverable", true, |reader, node| reader.truth(node));
    let mut text = |name: &str, most: usize| {
        optional(reader, &fields, name, None, |reader, node| words(reader, node, most).map(Some))
    };
    let name = text("name", 60);
    let description = text("description", 200);
    let category = text("category", 60);
    let keywords = optional(reader, &fields, "keywords", Vec::new(), keywords);
    let mut address =
        |name: &str| optional(reader, &fields, name, None, |reader, node| url(reader, node, URL_FIX).map(Some));
    let base_url = address("base_url");
    let docs_url = address("docs_url");
    let heartbeat_url = address("heartbeat_url");
    let website = optional(reader, &fields, "website", None, |reader, node| https(reader, node, URL_FIX).map(Some));
    if let (Some(node), false) = (fields.get("heartbeat_url"), fields.was_meant("base_url")) {
        let what = "there is no base_url to tell of.";
        return reader.mistake(&node.at, what, "write base_url, the service's public address.");
    }
    Some(DiscoveryConfig {
        discoverable: discoverable?,
        base_url: base_url?,
        name: name?,
        description: description?,
        keywords: keywords?,
        category: category?,
        website: website?,
        docs_url: docs_url?,
        heartbeat_url: heartbeat_url?,
    })
}

fn keywords<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<String>> {
    let items = reader.items(node, "write a list of words, such as [\"weather\", \"forecast\"].")?;
    if items.len() > MAX_KEYWORDS {
        let what = format!("{} keywords are more than {MAX_KEYWORDS}.", items.len());
        return reader.mistake(&node.at, what, "keep the ten that say most.");
    }
    let read: Vec<_> = items.iter().map(|item| words(reader, item, 30)).collect();
    read.into_iter().collect()
}

/// Reads `cors`: which origins of web pages may read answers.
pub(super) fn cors<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<Vec<String>> {
    let fields = reader.section(fields, "cors", "cors")?;
    optional(reader, &fields, "origins", vec!["*".to_owned()], origins)
}

fn origins<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<String>> {
    let fix = "write a list of origins, such as [\"https://app.example\"], or [\"*\"] for any.";
    let items = reader.items(node, fix)?;
    if items.len() > MAX_ORIGINS {
        let what = format!("{} origins are more than {MAX_ORIGINS}.", items.len());
        return reader.mistake(&node.at, what, "write [\"*\"], or fewer.");
    }
    let origin = |item: &Node<'d>| {
        let text = reader.text(item, fix)?;
        let known = check_url(&text.value).ok().and_then(|()| origin_of(&text.value));
        match known {
            _ if text.value == "*" && items.len() == 1 => Some(text.value),
            _ if text.value == "*" => reader.mistake(&item.at, "* is any origin: the others say nothing.", fix),
            // What a browser sends is lower case and has no slash at its end; only that can be compared.
            Some(origin) if text.value.strip_suffix('/').unwrap_or(&text.value).eq_ignore_ascii_case(&origin) => {
                Some(origin)
            }
            Some(_) | None => reader.mistake(&item.at, format!("{} is not an origin.", text.shown()), fix),
        }
    };
    let read: Vec<_> = items.iter().map(origin).collect();
    read.into_iter().collect()
}
