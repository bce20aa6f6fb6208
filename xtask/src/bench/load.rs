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
    /// A header of this name.
    Named(&'static str, String),
    /// A line of a file with each call, over again from the start when they are used up.
    Lines(PathBuf),
    /// The same with a line as the body of a POST.
    Bodies(PathBuf),
}

/// What a window came to.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) said: Said,
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
        let Self { said: Said { rps, p50_us, p99_us, .. }, cpu_s_per_100k, others } = self;
        write!(f, "{cpu_s_per_100k:8.3} s/100k {rps:9.0} req/s  p50 {p50_us:.0} us  p99 {p99_us:.0} us")?;
        if self.is_noisy() { write!(f, "  (others used {:.0} % of a core)", others * 100.0) } else { Ok(()) }
    }
}

/// The load tool's script: says at the end what came, and sends a header, or a body, of its own with each call when it is given a file.
/// What is sent as a body is answered with 200 whatever it says; the words that mean yes are looked for.
pub(super) const SCRIPT: &str = r#"
local lines, at, head, tail = nil, 0, nil, "\r\n\r\n"
local threads = {}
bad = 0
function setup(thread) threads[#threads + 1] = thread end
function init(args)
  if not args[1] then return end
  lines = {}
  for line in io.lines(args[1]) do lines[#lines + 1] = line end
  local host = wrk.headers["Host"]
  if not args[2] then
    head = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: " .. host .. "\r\nPAYMENT-SIGNATURE: "
    return
  end
  head, tail = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. host .. "\r\nContent-Type: application/json\r\n", ""
  for at, line in ipairs(lines) do lines[at] = "Content-Length: " .. #line .. "\r\n\r\n" .. line end
  function response(status, headers, body)
    if not (body:find('"isValid":true', 1, true) or body:find('"success":true', 1, true)) then bad = bad + 1 end
  end
end
function each()
  at = at % #lines + 1
  return head .. lines[at] .. tail
end
function done(summary, latency)
  local e, refused = summary.errors, summary.errors.status
  for _, thread in ipairs(threads) do refused = refused + thread:get("bad") end
  io.write(string.format("WINDOW %d %d %d %d %d %d\n", summary.requests, summary.duration, refused,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"#;

/// What is asked, and how.
pub(super) struct Ask<'a> {
    pub(super) address: &'a str,
    pub(super) path: &'a str,
    pub(super) connections: usize,
    pub(super) window_s: u32,
}

/// What the load tool said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) requests: u64,
    /// 4xx and 5xx, and bodies without the words that mean yes.
    pub(super) refused: u64,
    pub(super) broken: u64,
    pub(super) rps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Puts load on an address.
pub(super) fn ask(world: &World, ask: &Ask<'_>, load: &Load) -> Result<Said> {
    let mut wrk = process::command(Path::new("wrk"), false);
    let script = if matches!(load, Load::Lines(_) | Load::Bodies(_)) { "each.lua" } else { "same.lua" };
    wrk.args(["-t1", &format!("-c{}", ask.connections), &format!("-d{}s", ask.window_s), "--timeout", "10s"]);
    wrk.arg("-s").arg(world.folder().join(script));
    if let Load::Header(header) = load {
        wrk.args(["-H", &format!("PAYMENT-SIGNATURE: {header}")]);
    }
    if let Load::Named(name, value) = load {
        wrk.args(["-H", &format!("{name}: {value}")]);
    }
    wrk.arg(format!("http://{}{}", ask.address, ask.path));
    match load {
        Load::Lines(file) => wrk.arg("--").arg(file),
        Load::Bodies(file) => wrk.arg("--").arg(file).arg("bodies"),
        Load::Plain | Load::Header(_) | Load::Named(..) => &mut wrk,
    };
    let output = wrk.output().context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}{text}", String::from_utf8_lossy(&output.stderr));
    let line =
        text.lines().find_map(|line| line.strip_prefix("WINDOW ")).with_context(|| format!("wrk said {text}"))?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, duration_us, refused, broken, p50_us, p99_us] = numbers[..] else { anyhow::bail!("wrk: {line}") };
    let float = |number: u64| number as f64;
    let rps = float(requests) * 1e6 / float(duration_us);
    Ok(Said { requests, refused, broken, rps, p50_us: float(p50_us), p99_us: float(p99_us) })
}

/// Puts load on a row's system and reads what it used.
pub(super) fn window(world: &World, row: &Row, load: &Load) -> Result<Window> {
    let server = world.server(row.system)?;
    let address = server.address();
    let asked = Ask { address: &address, path: row.path, connections: CONNECTIONS, window_s: WINDOW_S };
    let before = (server.cpu_s()?, process::machine_cpu_s()?, world.own_cpu_s()?);
    let said = ask(world, &asked, load)?;
    let after = (server.cpu_s()?, process::machine_cpu_s()?, world.own_cpu_s()?);
    ensure!(said.requests > 0, "{}: nobody answered", row.name);
    ensure!(after.0 > before.0, "{}: whoever answered was not counted", row.name);
    let requests = said.requests as f64;
    let others = (after.1 - before.1) - (after.2 - before.2);
    let (cpu_s_per_100k, others) = ((after.0 - before.0) * 1e5 / requests, others.max(0.0) * said.rps / requests);
    Ok(Window { said, cpu_s_per_100k, others })
}
