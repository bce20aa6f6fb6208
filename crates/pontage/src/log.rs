//! The log goes to standard error: JSON lines for `start`, text for `dev`, warnings alone for `sandbox`. Nobody waits for whoever
//! reads it: what there is no room for is lost, and counted.

mod access;
mod lines;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, bail};
use tracing::Level;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat, LogLevel};
use crate::run::Mode;

pub(crate) use access::AccessLog;

use lines::Lines;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// The running log. What is in it is written out when this is dropped, as long as somebody reads.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Lines,
    format: LogFormat,
    access: bool,
}

/// Starts logging. `PONTAGE_LOG` goes before `log.level`, in the syntax of `tracing`.
///
/// # Errors
/// When the variable is neither a level nor a list of `target=level`: a log that is silent by a slip would hide errors.
pub(crate) fn start(mode: Mode, config: &LogConfig) -> anyhow::Result<Log> {
    let written = match config.level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let default = if mode == Mode::Sandbox { "warn" } else { written };
    let asked = std::env::var("PONTAGE_LOG").unwrap_or_default();
    let asked = if asked.trim().is_empty() { default } else { asked.trim() };
    let known = |part: &str| LEVELS.contains(&part.rsplit('=').next().unwrap_or_default().to_lowercase().as_str());
    if !asked.split(',').all(known) {
        bail!("PONTAGE_LOG: {asked:?} is no level. Write one of {}", LEVELS.join(", "));
    }
    let filter = EnvFilter::try_new(asked).context("PONTAGE_LOG")?;
    let format = config.format.unwrap_or(match mode {
        Mode::Live => LogFormat::Json,
        Mode::Dev | Mode::Mock | Mode::Sandbox => LogFormat::Text,
    });
    let lines = Lines::start(std::io::stderr())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines.clone())
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
    // `PONTAGE_LOG=warn,access=info` keeps the calls and drops the rest.
    let access = config.access && tracing::enabled!(target: "access", Level::INFO);
    Ok(Log { lines, format, access })
}

impl Log {
    /// One that nobody reads.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        let lines = Lines::start(std::io::sink()).unwrap();
        Self { lines, format: LogFormat::Text, access: false }
    }

    /// Where calls are written.
    pub(crate) fn access(&self) -> AccessLog {
        if self.access { AccessLog::to(self.lines.clone(), self.format) } else { AccessLog::default() }
    }

    /// How many lines were lost.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        self.lines.lost()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.flush();
    }
}
