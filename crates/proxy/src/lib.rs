//! The HTTP/1.1 engine: listeners, an upstream pool, streaming, headers and path normalisation.
//!
//! The crate knows no money. Everything runs on a current-thread runtime inside a `LocalSet`, one per core, so nothing here
//! is `Send` and nothing locks. It speaks no HTTP/2, never upgrades a connection and never follows a redirect.

#![warn(missing_docs)]

mod h1;
mod headers;
mod listener;
mod path;
mod patience;
mod target;
mod upstream;

pub use headers::strip_hop_by_hop;
pub use listener::{Incoming, IncomingFault, ListenerLimits, Peer, bind, ensure_free, serve};
pub use path::{CleanPath, PATH_AND_QUERY_MAX_BYTES, PathRefusal};
pub use target::{Target, TargetRefusal};
pub use upstream::{TlsConfig, Upstream, UpstreamBody, UpstreamFault, UpstreamFaultKind, UpstreamLimits, platform_tls};
