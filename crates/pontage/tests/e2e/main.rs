//! The real binary between real clients, a real chain and a scripted upstream. `cargo xtask test` sets up what this needs.

mod clients;
mod kit;
