//! Logs go to standard error: JSON lines for `start`, text for `dev`, warnings alone for `sandbox`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::run::Mode;

/// Starts logging. `PONTAGE_LOG` sets the level (default `info`), in the syntax of `tracing`.
pub(crate) fn start(mode: Mode) {
    let default = if mode == Mode::Sandbox { "warn" } else { "info" };
    let filter = EnvFilter::try_from_env("PONTAGE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    match mode {
        Mode::Live => builder.json().flatten_event(true).init(),
        Mode::Dev | Mode::Sandbox => builder.init(),
    }
}
