//! The engine over loopback: raw sockets on one side or the other, nothing but port 0, no sleeps.

// Clippy's leave to unwrap in tests does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod harness;
mod listener;
mod smuggling;
mod tls;
mod upstream;
