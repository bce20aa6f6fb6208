//! A language model behind an OpenAI-compatible API, for the first service of the sandbox.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// How long the model may take.
const TIMEOUT: Duration = Duration::from_secs(25);
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// Where the key is looked for, in this order.
const KEY_NAMES: [&str; 2] = ["OPENAI_API_KEY", "OPENROUTER_API_KEY"];

/// Where the model is, and the key that callers never see.
pub(super) struct Model {
    client: reqwest::Client,
    url: String,
    name: String,
    key: Option<String>,
}

impl Model {
    /// `base` is the URL that ends before `/chat/completions`. The key is read from the environment; a host on this machine may
    /// need none.
    pub(super) fn new(base: &str, name: &str) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/');
        let parsed: http::Uri = base.parse().context("--openai-url is not a URL")?;
        let local = matches!(parsed.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
        let key = KEY_NAMES.iter().find_map(|name| std::env::var(name).ok()).filter(|key| !key.is_empty());
        if key.is_none() && !local {
            bail!("put the model's API key into the environment: OPENAI_API_KEY or OPENROUTER_API_KEY");
        }
        if parsed.scheme_str() != Some("https") && !local {
            bail!("--openai-url must start with https://: the key is sent there");
        }
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, url: format!("{base}/chat/completions"), name: name.to_owned(), key })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A short answer.
    pub(super) async fn ask(&self, question: &str) -> anyhow::Result<String> {
        let messages = json!([
            { "role": "system", "content": "Answer in at most three sentences." },
            { "role": "user", "content": question },
        ]);
        let body = json!({ "model": self.name, "messages": messages, "max_tokens": 200 }).to_string();
        let mut request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        if !response.status().is_success() {
            bail!("status {}", response.status());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_MAX_BYTES {
                bail!("the answer is too large");
            }
        }
        let answer: Value = serde_json::from_slice(&bytes)?;
        let text = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
        Ok(text.context("the answer has no choices[0].message.content")?.to_owned())
    }
}
