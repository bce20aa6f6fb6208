//! What operators see: the log, metrics, traces.

use std::net::SocketAddr;
use std::path::Path;

use super::ends::listen;
use super::reader::{Fields, Node, Reader};
use super::url::url;
use super::{SecretSource, optional, secret};

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
    /// Where `/metrics` and the admin API are served.
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Where the first owner's token is kept. Without it `PONTAGE_ADMIN_TOKEN` is looked for.
    pub(crate) admin_token: Option<SecretSource>,
    /// The OTLP/HTTP endpoint that traces are sent to, such as `http://127.0.0.1:4318/v1/traces`.
    pub(crate) otlp_url: Option<String>,
}

/// Reads `log`.
pub(super) fn log<'d>(reader: &mut Reader<'d>, fields: &Fields<'d>) -> Option<LogConfig> {
    let fields = reader.section(fields, "log", "log")?;
    let default = LogConfig::default();
    let level = optional(reader, &fields, "level", default.level, level);
    let format = optional(reader, &fields, "format", default.format, |reader, node| format(reader, node).map(Some));
    let access = optional(reader, &fields, "access", default.access, |reader, node| reader.truth(node));
    Some(LogConfig { level: level?, format: format?, access: access? })
}

fn level<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<LogLevel> {
    let fix = "write debug, info, warn or error.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "debug" => Some(LogLevel::Debug),
        "info" => Some(LogLevel::Info),
        "warn" => Some(LogLevel::Warn),
        "error" => Some(LogLevel::Error),
        _ => reader.mistake(&node.at, format!("{} is not a level of the log.", text.shown()), fix),
    }
}

fn format<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<LogFormat> {
    let fix = "write json or text.";
    let text = reader.text(node, fix)?;
    match text.value.as_str() {
        "json" => Some(LogFormat::Json),
        "text" => Some(LogFormat::Text),
        _ => reader.mistake(&node.at, format!("{} is not a form of log lines.", text.shown()), fix),
    }
}

/// Reads `admin` and `telemetry`. `main` is where callers come in, which metrics are kept away from.
pub(super) fn operation<'d>(
    reader: &mut Reader<'d>,
    fields: &Fields<'d>,
    folder: &Path,
    main: Option<SocketAddr>,
) -> Option<OperationConfig> {
    let otlp_fix = "write an address such as \"http://127.0.0.1:4318/v1/traces\".";
    let admin = reader.section(fields, "admin", "admin");
    let telemetry = reader.section(fields, "telemetry", "telemetry");
    let (admin, telemetry) = (admin?, telemetry?);
    let admin_listen = optional(reader, &admin, "listen", None, |reader, node| listen(reader, node).map(Some));
    let admin_token =
        optional(reader, &admin, "token", None, |reader, node| secret::source(reader, node, folder).map(Some));
    let otlp_url = optional(reader, &telemetry, "otlp_url", None, |reader, node| url(reader, node, otlp_fix).map(Some));
    let admin_listen = admin_listen?;
    if let (Some(node), true) = (admin.get("listen"), admin_listen.is_some_and(|it| it.port() != 0 && Some(it) == main))
    {
        let what = "callers come in there: metrics are not for them.";
        return reader.mistake(&node.at, what, "write another port, such as 127.0.0.1:9402.");
    }
    Some(OperationConfig { admin_listen, admin_token: admin_token?, otlp_url: otlp_url? })
}
