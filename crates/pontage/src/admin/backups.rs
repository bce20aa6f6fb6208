//! Copies of the journal, asked for by an admin.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use http::StatusCode;
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use super::api::Api;
use super::ask::{Ask, reply};
use super::endpoint::Outcome;
use super::refused::Refused;
use crate::host::now_ms;

/// A copy that was made and checked.
#[derive(Serialize, ToSchema)]
pub(super) struct BackupView {
    /// Its file.
    file: String,
    sha256: String,
    bytes: u64,
    made_at_ms: u64,
    /// How many entries of the books it has.
    entries: u64,
}

pub(super) async fn make(api: &Api, ask: &Ask) -> Outcome {
    let (journal, made_at_ms) = (api.store.path().to_owned(), now_ms());
    let folder = folder(&journal);
    let file = folder.join(format!("pontage-{made_at_ms}.db"));
    if ask.dry_run {
        let view =
            BackupView { file: file.display().to_string(), sha256: String::new(), bytes: 0, made_at_ms, entries: 0 };
        return reply(&view);
    }
    let copy = {
        let file = file.clone();
        tokio::task::spawn_blocking(move || {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| error.to_string())?;
            store::backup(&journal, &file, made_at_ms).map_err(|error| error.to_string())
        })
    };
    let manifest = copy.await.map_err(|error| error.to_string()).and_then(|made| made).map_err(|error| {
        error!(error, "no backup was made");
        let message = "No backup was made; the log says why.";
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "backup_failed", message)
    })?;
    // What was done is noted although it changed nothing in the journal.
    ask.noted(&api.journal, store::Subject::Gate).note_act().await?;
    reply(&BackupView {
        file: file.display().to_string(),
        sha256: manifest.sha256,
        bytes: manifest.bytes,
        made_at_ms: manifest.made_at_ms,
        entries: manifest.entries,
    })
}

/// Where copies go: beside the journal, for its owner alone.
fn folder(journal: &std::path::Path) -> PathBuf {
    journal.parent().unwrap_or(std::path::Path::new("")).join("backups")
}
