//! Logs go to standard error: JSON lines for `start`, text for `dev`, warnings alone for `sandbox`.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};
use tracing_subscriber::EnvFilter;

use crate::run::Mode;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Starts logging. `PONTAGE_LOG` sets the level (default `info`), in the syntax of `tracing`.
///
/// # Errors
/// When the variable is neither a level nor a list of `target=level`: a log that is silent by a slip would hide errors.
pub(crate) fn start(mode: Mode) -> anyhow::Result<()> {
    let default = if mode == Mode::Sandbox { "warn" } else { "info" };
    let asked = std::env::var("PONTAGE_LOG").unwrap_or_default();
    let asked = if asked.trim().is_empty() { default } else { asked.trim() };
    let known = |part: &str| LEVELS.contains(&part.rsplit('=').next().unwrap_or_default().to_lowercase().as_str());
    if !asked.split(',').all(known) {
        bail!("PONTAGE_LOG: {asked:?} is no level. Write one of {}", LEVELS.join(", "));
    }
    let filter = EnvFilter::try_new(asked).context("PONTAGE_LOG")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    match mode {
        Mode::Live => builder.json().flatten_event(true).init(),
        Mode::Dev | Mode::Mock | Mode::Sandbox => builder.init(),
    }
    Ok(())
}
