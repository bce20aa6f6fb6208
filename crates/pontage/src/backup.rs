//! `pontage backup` and `pontage restore`: copies of a journal, checked.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use store::Manifest;

use crate::run::{self, Mode};
use crate::{host, say};

/// What both commands are given.
#[derive(Args)]
pub(crate) struct BackupArgs {
    /// The copy. Its manifest stands beside it, with `.manifest.json` behind the name.
    file: PathBuf,
    /// The configuration. It names the journal.
    #[arg(short, long, default_value = "pontage.yaml")]
    config: PathBuf,
}

/// Copies the journal, also while a gate runs.
pub(crate) fn backup(args: &BackupArgs, json: bool) -> anyhow::Result<()> {
    let journal = run::load(&args.config, Mode::Live)?.store_path;
    if !journal.is_file() {
        bail!("store.path {}: there is no journal. A gate makes it when it first starts", journal.display());
    }
    let made = store::backup(&journal, &args.file, host::now_ms())
        .with_context(|| format!("store.path {} was not copied", journal.display()))?;
    told("copied and checked", args, &made, json)
}

/// Puts a copy where the configuration wants its journal.
pub(crate) fn restore(args: &BackupArgs, json: bool) -> anyhow::Result<()> {
    let journal = run::load(&args.config, Mode::Live)?.store_path;
    let made = store::restore(&args.file, &journal)
        .with_context(|| format!("store.path {} was not restored", journal.display()))?;
    told("checked and restored", args, &made, json)?;
    if !json {
        say("what happened since it was made is not in it: run `pontage ledger audit` before you start the gate")?;
    }
    Ok(())
}

fn told(what: &str, args: &BackupArgs, made: &Manifest, json: bool) -> anyhow::Result<()> {
    let file = args.file.display();
    match json {
        true => say(&json!({ "file": file.to_string(), "manifest": made.to_json() }).to_string()),
        false => {
            say(&format!("{what}: {file}, {} bytes, {} entries, SHA-256 {}", made.bytes, made.entries, made.sha256))
        }
    }
}
