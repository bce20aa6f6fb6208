//! `cargo xtask bench`: what one request costs, beside the systems that do the same. docs/bench.md says how.
//!
//! The system under test has core 0 for itself; the load, the upstream, the stub facilitator and the chain have core 1. All systems
//! stay up for the whole run and idle while another is measured. Rows are interleaved, so that whatever the machine does meets all of
//! them. Everything listens on loopback and a port that was free (pay-gate knows no address but 0.0.0.0) and ends with the run.

mod books;
mod load;
mod memory;
mod process;
mod report;
mod rows;
mod set_up;
mod settle;
mod systems;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use load::Window;
use report::Measured;
use rows::{ROWS, Row};
use systems::World;

/// What was asked for.
struct Options {
    json: Option<PathBuf>,
    rows: Vec<&'static Row>,
    rounds: usize,
    /// A run of some rows only tells those who look at it.
    whole: bool,
}

/// How often a window is repeated in which others used the machine.
const REPEATS_MAX: usize = 2;
const ROUNDS: usize = 5;

pub(crate) fn run(root: &Path, args: &[&str]) -> Result<()> {
    let mut options = parse(args)?;
    let tools = set_up::tools(root, &options.rows)?;
    if !tools.has_sidecar {
        options.rows.retain(|row| !row.needs_sidecar());
    }
    process::pin_self()?;
    let mut world = World::start(root, tools, &options.rows)?;
    for row in &options.rows {
        eprintln!("warming up: {}", row.name);
        measure(&mut world, row)?;
    }
    let mut windows: Vec<Vec<Window>> = options.rows.iter().map(|_| Vec::new()).collect();
    let mut noisy = 0;
    for round in 1..=options.rounds {
        for (row, windows) in options.rows.iter().zip(&mut windows) {
            let window = quiet_window(&mut world, row)?;
            noisy += usize::from(window.is_noisy());
            eprintln!("round {round}: {:22} {window}", row.name);
            windows.push(window);
        }
    }
    let mut measured = Vec::new();
    for (row, windows) in options.rows.iter().zip(&windows) {
        measured.push(Measured::of(row.name, windows, world.rss_mb(row)?));
    }
    let once = if world.has_gate() { Some(memory::once(&mut world)?) } else { None };
    let settling = if options.whole { Some(settle::settling(&world, root)?) } else { None };
    let report = report::Report { rows: measured, once, settling, rounds: options.rounds, noisy };
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()).with_context(|| path.display().to_string())?;
    }
    println!("{}", report.table());
    if options.whole {
        std::fs::write(root.join("docs/bench.md"), report.page())?;
    }
    Ok(())
}

/// A window in which nobody else used the machine, or the least disturbed of several.
fn quiet_window(world: &mut World, row: &Row) -> Result<Window> {
    let mut best: Option<Window> = None;
    for _ in 0..=REPEATS_MAX {
        let window = measure(world, row)?;
        if !window.is_noisy() {
            return Ok(window);
        }
        best = Some(match best {
            Some(best) if best.others <= window.others => best,
            _ => window,
        });
    }
    best.context("at least one window was measured")
}

fn measure(world: &mut World, row: &Row) -> Result<Window> {
    let load = world.load(row)?;
    let window = load::window(world, row, &load)?;
    let load::Said { requests, refused, broken, .. } = window.said;
    let expected = if row.is_refusal { requests } else { 0 };
    ensure!(
        refused == expected && broken == 0,
        "{}: of {} answers {} were 4xx or 5xx, {} broke off; the row is not what it says",
        row.name,
        requests,
        refused,
        broken
    );
    Ok(window)
}

fn parse(args: &[&str]) -> Result<Options> {
    let mut options = Options { json: None, rows: ROWS.iter().collect(), rounds: ROUNDS, whole: true };
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let value = *args.next().with_context(|| format!("{flag} wants a value"))?;
        match *flag {
            "--json" => options.json = Some(std::env::current_dir()?.join(value)),
            "--rounds" => options.rounds = value.parse().context("--rounds")?,
            "--rows" => {
                let named = |name: &str| ROWS.iter().find(|row| row.name == name.trim());
                let rows = value.split(',').map(|name| named(name).with_context(|| format!("no row `{name}`")));
                options.rows = rows.collect::<Result<_>>()?;
                options.whole = false;
            }
            other => bail!("unknown option `{other}`"),
        }
    }
    ensure!(options.rounds > 0, "--rounds wants at least 1");
    Ok(options)
}
