//! Processes, their cores, and what they used.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Where the system under test runs, and where everything else does.
pub(super) const TESTED_CORE: &str = "0";
const OTHER_CORE: &str = "1";
/// Linux counts process times in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_S: f64 = 100.0;
const START_LIMIT: Duration = Duration::from_secs(20);
/// Enough for 5,000 connections and both of their ends.
const FILES_MAX: &str = "12000";

/// Puts this process, and with it all that it will start, on the other core. No build may follow: it would have one core.
pub(super) fn pin_self() -> Result<()> {
    ensure!(thread::available_parallelism()?.get() > 1, "a run takes two cores: one for the system, one for the load");
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-cp", OTHER_CORE, &pid]).stdout(Stdio::null()).status();
    ensure!(pinned.context("taskset (util-linux)")?.success(), "taskset failed");
    let raised = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={FILES_MAX}:")]).status();
    ensure!(raised.context("prlimit (util-linux)")?.success(), "5,000 connections need {FILES_MAX} open files");
    Ok(())
}

/// A command that runs on a core.
pub(super) fn on_core(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// A program on the core of the system under test, or on the other.
pub(super) fn command(program: &Path, tested: bool) -> Command {
    on_core(if tested { TESTED_CORE } else { OTHER_CORE }, program)
}

/// A port that is free now, for programs that cannot choose one and say which.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A running server. Ended when dropped.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
}

impl Server {
    /// Starts a server that was told its port, and waits until somebody listens there.
    pub(super) fn on_port(mut command: Command, port: u16, log: &Path) -> Result<Self> {
        let child = quiet(&mut command, log)?.stdout(Stdio::null()).spawn().with_context(|| format!("{command:?}"))?;
        let mut server = Self { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(begun.elapsed() < START_LIMIT, "{command:?} does not listen; see {}", log.display());
            if let Some(status) = server.child.try_wait()? {
                bail!("{command:?} ended, {status}; see {}", log.display());
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Starts a server that chooses its port and says on standard output where it listens.
    pub(super) fn that_says(mut command: Command, log: &Path) -> Result<Self> {
        let mut child =
            quiet(&mut command, log)?.stdout(Stdio::piped()).spawn().with_context(|| format!("{command:?}"))?;
        let output = child.stdout.take().context("a pipe was asked for")?;
        let mut server = Self { child, port: 0 };
        let (said, heard) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let port = line.split_once("127.0.0.1:").map(|(_, rest)| rest.trim().trim_end_matches('/').to_owned());
                // Nobody waits any more when the start was given up.
                port.and_then(|port| port.parse::<u16>().ok()).map(|port| said.send(port).ok());
            }
        });
        let heard = heard.recv_timeout(START_LIMIT);
        server.port = heard.with_context(|| format!("{command:?} named no port; see {}", log.display()))?;
        Ok(server)
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Processor time that it and its workers have used, in seconds.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        self.family()?.into_iter().map(cpu_s).sum()
    }

    /// What it and its workers have in memory.
    pub(super) fn rss_mb(&self) -> Result<f64> {
        self.family()?.into_iter().map(rss_mb).sum()
    }

    /// Looked up each time: a server may listen before it has its workers.
    fn family(&self) -> Result<Vec<u32>> {
        family(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx ends its workers when it is asked to end, not when it is killed.
        let asked = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let begun = Instant::now();
        while asked.is_ok() && begun.elapsed() < Duration::from_secs(3) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn quiet<'a>(command: &'a mut Command, log: &Path) -> Result<&'a mut Command> {
    let log = std::fs::File::create(log).with_context(|| log.display().to_string())?;
    Ok(command.stdin(Stdio::null()).stderr(log))
}

/// A process and all that it has started.
pub(super) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for process in std::fs::read_dir("/proc")? {
        let Some(other) = process?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile is nobody's.
        if let Some(parent) = stat(other).ok().and_then(|fields| fields.get(1)?.parse::<u32>().ok()) {
            parents.push((other, parent));
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        at += 1;
    }
    Ok(family)
}

/// The fields of a process behind its name: the state is the first, the parent the second.
fn stat(pid: u32) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

fn ticks(fields: &[String], which: std::ops::Range<usize>) -> Result<f64> {
    let ticks = fields.get(which).context("/proc/PID/stat")?.iter().map(|field| field.parse::<f64>());
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_S)
}

fn cpu_s(pid: u32) -> Result<f64> {
    ticks(&stat(pid)?, 11..13)
}

/// What a process and those that it waited for have used: of this one, the load tool's time is among it.
pub(super) fn cpu_with_ended_s(pid: u32) -> Result<f64> {
    ticks(&stat(pid)?, 11..15)
}

/// What all processes of the machine have used; network interrupts belong to nobody and are left out.
pub(super) fn machine_cpu_s() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = text.lines().next().unwrap_or_default().split_whitespace().flat_map(str::parse).collect();
    let [user, nice, system, ..] = fields[..] else { bail!("/proc/stat") };
    // The time that a hypervisor gave to others.
    let steal = fields.get(7).copied().unwrap_or_default();
    Ok((user + nice + system + steal) / TICKS_PER_S)
}

fn rss_mb(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
