//! `pontage admin`: the admin API from a command line.

mod asked;
mod print;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use alloy_primitives::hex;
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use crate::{cli, host, say};
use asked::{Asked, What};

const VARIABLE: &str = "PONTAGE_ADMIN_TOKEN";
/// An import may take a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `pontage admin` is given.
#[derive(Args)]
pub(crate) struct AdminArgs {
    /// Where the gate's `admin.listen` is.
    #[arg(long, global = true, default_value = "http://127.0.0.1:9402")]
    url: String,
    /// A file that holds the token alone. Without it the token is in the environment variable PONTAGE_ADMIN_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Say what would change, and change nothing.
    #[arg(long, global = true)]
    dry_run: bool,
    /// Names the request: asked for again with the same key it is done once. Without it each run of the command is a request.
    #[arg(long, global = true, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(subcommand)]
    what: What,
}

/// The answer of the API.
struct Told {
    status: u16,
    is_json: bool,
    next: Option<String>,
    text: String,
}

/// Asks the gate and prints what it answers: 1 where it was refused.
pub(crate) fn run(args: &AdminArgs, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(why) = cli::url_mistake(&args.url) {
        bail!("--url: {why}; write one such as http://127.0.0.1:9402");
    }
    let token = token(args.token_file.as_deref())?;
    let asked = args.what.asked()?;
    let key = args.idempotency_key.clone().unwrap_or_else(|| hex::encode(host::entropy::<16>()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = runtime.block_on(ask(args, &asked, &token, &key))?;
    if !(200..300).contains(&told.status) {
        let problem: Value = serde_json::from_str(&told.text).unwrap_or_default();
        if json {
            say(&told.text)?;
            return Ok(ExitCode::FAILURE);
        }
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        let field = problem["field"].as_str().map(|field| format!(" [{field}]")).unwrap_or_default();
        bail!("{} ({}, {}){field}", text("message"), told.status, text("error"));
    }
    if !told.is_json {
        crate::say(told.text.trim_end())?;
        if let Some(next) = told.next {
            use std::io::Write as _;
            writeln!(std::io::stderr(), "pontage: there is more: --cursor {next}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let value: Value = serde_json::from_str(&told.text).context("the gate's answer is no JSON")?;
    match json || !std::io::stdout().is_terminal() {
        true => say(&format!("{value:#}"))?,
        false => say(&print::table(&value))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The token, which is never on the command line: everybody on the machine reads that.
fn token(file: Option<&Path>) -> anyhow::Result<String> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("--token-file {}", path.display()))?,
        None => match std::env::var(VARIABLE) {
            Ok(text) => text,
            Err(_) => bail!(
                "there is no token: put it into the environment variable {VARIABLE}, or name a file with --token-file"
            ),
        },
    };
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("the token is empty, or holds what no token holds");
    }
    Ok(text.to_owned())
}

async fn ask(args: &AdminArgs, asked: &Asked, token: &str, key: &str) -> anyhow::Result<Told> {
    let base = args.url.trim_end_matches('/');
    let mut url = url::Url::parse(&format!("{base}{}", asked.path)).context("--url")?;
    for (name, value) in &asked.query {
        url.query_pairs_mut().append_pair(name, value);
    }
    let mutates = asked.method != "GET";
    if args.dry_run && mutates {
        url.query_pairs_mut().append_pair("dry_run", "true");
    }
    let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
    let method = reqwest::Method::from_bytes(asked.method.as_bytes())?;
    let mut request = client.request(method, url).bearer_auth(token);
    if mutates {
        request = request.header("idempotency-key", key);
    }
    if let Some(body) = &asked.body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    // Of its own address the client's words would repeat the query.
    let answer = request.send().await.map_err(reqwest::Error::without_url);
    let lost = || match mutates {
        true => format!(
            "the gate at {base} did not answer. It may have been done: run it again with --idempotency-key {key}"
        ),
        false => format!("the gate at {base} did not answer"),
    };
    let answer = answer.with_context(lost)?;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, next) = (answer.status().as_u16(), header("x-next-cursor"));
    let is_json = header("content-type").is_some_and(|kind| kind.contains("json"));
    let text = answer.text().await.map_err(reqwest::Error::without_url).with_context(lost)?;
    Ok(Told { status, is_json, next, text })
}
