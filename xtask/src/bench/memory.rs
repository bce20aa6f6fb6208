//! What is measured once in a run: how long a gate takes to answer after its start, and what it holds in memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::process::Server;
use super::systems::{World, get};

const STARTS: usize = 5;
const IDLE_CONNECTIONS: usize = 5_000;

/// Each of them in milliseconds, MB or nanoseconds.
pub(super) struct Once {
    pub(super) cold_start_ms: f64,
    pub(super) idle_mb: f64,
    pub(super) idle_connections_mb: f64,
    pub(super) recovery_ns: f64,
}

pub(super) fn once(world: &mut World) -> Result<Once> {
    world.end_systems()?;
    let mut starts = Vec::new();
    for at in 0..STARTS {
        // Everything but the process is made before the clock runs.
        let name = format!("start-{at}");
        let command = world.pontage_command(&name, &[])?;
        let begun = Instant::now();
        let gate = Server::that_says(command, &world.folder().join(&name).join("log"))?;
        let (status, _) = get(&format!("http://{}/paid/1", gate.address()), None)?;
        starts.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(status == 402, "the first answer is {status}");
    }
    starts.sort_by(f64::total_cmp);
    let gate = world.pontage("idle", &[])?;
    let (status, _) = get(&format!("http://{}/paid/1", gate.address()), None)?;
    ensure!(status == 402, "the first answer is {status}");
    // What the start left to do is done by then.
    thread::sleep(Duration::from_secs(1));
    let idle_mb = gate.rss_mb()?;
    let mut connections = Vec::new();
    for _ in 0..IDLE_CONNECTIONS {
        let mut connection = TcpStream::connect(gate.address()).context("5,000 connections")?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        connection.write_all(b"GET /paid/1 HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let mut answer = [0; 64];
        ensure!(connection.read(&mut answer)? > 0, "a connection was not answered");
        connections.push(connection);
    }
    let idle_connections_mb = gate.rss_mb()?;
    Ok(Once { cold_start_ms: starts[STARTS / 2], idle_mb, idle_connections_mb, recovery_ns: world.recovery_ns()? })
}
