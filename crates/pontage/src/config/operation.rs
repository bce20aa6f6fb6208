//! What operators see: the log, metrics, traces; and what the public is told about the service.

use std::net::SocketAddr;

/// `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// The least that is logged. `PONTAGE_LOG` goes before it.
    pub(crate) level: LogLevel,
    /// `None`: JSON for `start`, text for `dev`.
    pub(crate) format: Option<LogFormat>,
    /// Whether every call has a line with its money outcome.
    pub(crate) access: bool,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::default(), format: None, access: true }
    }
}

/// `admin` and `telemetry`: both are off unless they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OperationConfig {
    /// Where `/metrics` is served.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// The OTLP/HTTP endpoint that traces are sent to, such as `http://127.0.0.1:4318/v1/traces`.
    pub(crate) otlp_url: Option<String>,
}

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
