//! One window of load, and what it came to.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::process;
use super::rows::Row;
use super::systems::World;

pub(super) const CONNECTIONS: usize = 64;
const WINDOW_S: u32 = 2;
/// What others may use of one core in a window.
const OTHERS_MAX: f64 = 0.10;

/// What is sent, beside the row's path.
pub(super) enum Load {
    Plain,
    Header(String),
    /// A line of a file with each call, over again from the start when they are used up.
    Lines(PathBuf),
}

/// What a window came to.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) requests: u64,
    /// 4xx and 5xx.
    pub(super) refused: u64,
    pub(super) broken: u64,
    pub(super) rps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) cpu_s_per_100k: f64,
    /// What other processes used of one core meanwhile.
    pub(super) others: f64,
}

impl Window {
    pub(super) fn is_noisy(&self) -> bool {
        self.others > OTHERS_MAX
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu_s_per_100k, rps, p50_us, p99_us, others, .. } = self;
        write!(f, "{cpu_s_per_100k:8.3} s/100k {rps:9.0} req/s  p50 {p50_us:.0} us  p99 {p99_us:.0} us")?;
        if self.is_noisy() { write!(f, "  (others used {:.0} % of a core)", others * 100.0) } else { Ok(()) }
    }
}

/// The load tool's script: says at the end what came, and sends a header of its own with each call when it is given a file.
pub(super) const SCRIPT: &str = r#"
local lines, at, head = nil, 0, nil
function init(args)
  if not args[1] then return end
  lines = {}
  for line in io.lines(args[1]) do lines[#lines + 1] = line end
  head = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nPAYMENT-SIGNATURE: "
end
function each()
  at = at % #lines + 1
  return head .. lines[at] .. "\r\n\r\n"
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("WINDOW %d %d %d %d %d %d\n", summary.requests, summary.duration, e.status,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"#;

/// Puts load on a row's system and reads what it used.
pub(super) fn window(world: &World, row: &Row, load: &Load) -> Result<Window> {
    let server = world.server(row.system)?;
    let mut wrk = process::command(Path::new("wrk"), false);
    wrk.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{WINDOW_S}s"), "--timeout", "10s"]);
    wrk.arg("-s").arg(world.folder().join(if matches!(load, Load::Lines(_)) { "each.lua" } else { "same.lua" }));
    if let Load::Header(header) = load {
        wrk.args(["-H", &format!("PAYMENT-SIGNATURE: {header}")]);
    }
    wrk.arg(format!("http://{}{}", server.address(), row.path));
    if let Load::Lines(file) = load {
        wrk.arg("--").arg(file);
    }
    let before = (server.cpu_s()?, process::machine_cpu_s()?, world.own_cpu_s()?);
    let output = wrk.output().context("wrk")?;
    let after = (server.cpu_s()?, process::machine_cpu_s()?, world.own_cpu_s()?);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}{text}", String::from_utf8_lossy(&output.stderr));
    let line =
        text.lines().find_map(|line| line.strip_prefix("WINDOW ")).with_context(|| format!("wrk said {text}"))?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, duration_us, refused, broken, p50_us, p99_us] = numbers[..] else { anyhow::bail!("wrk: {line}") };
    ensure!(requests > 0, "{}: nobody answered", row.name);
    ensure!(after.0 > before.0, "{}: whoever answered was not counted", row.name);
    let float = |number: u64| number as f64;
    let others = (after.1 - before.1) - (after.2 - before.2);
    Ok(Window {
        requests,
        refused,
        broken,
        rps: float(requests) * 1e6 / float(duration_us),
        p50_us: float(p50_us),
        p99_us: float(p99_us),
        cpu_s_per_100k: (after.0 - before.0) * 1e5 / float(requests),
        others: others.max(0.0) * 1e6 / float(duration_us),
    })
}
