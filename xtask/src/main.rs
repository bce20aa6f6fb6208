//! `cargo xtask <task>`: the tasks of this workspace. Links none of the crates it checks.
#![expect(clippy::print_stdout, reason = "a task runner talks to a terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

mod bench;
mod set_up;
mod suite;
mod test;
mod tidy;

const USAGE: &str = "\
usage: cargo xtask <task>

  bench [--json FILE] [--rows a,b] [--rounds N]
                  measure what a request costs, beside nginx, Caddy, pay-gate and Express; all rows write docs/bench.md
  sandbox [--once] [--json] [--openai-url URL]
                  start a chain, a gate, a demo API and a funded wallet here, make one paid call, show it, and stay up
  sim [--seeds N] [--from N] [--seed N]
                  run the simulator: N seeds (10000), from a seed on; or one seed with everything that happens
  test [--quick]  set up what is needed and run every suite; --quick runs only fmt, clippy, tidy, wasm and unit
  tidy            check the rules of the house that no compiler checks";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<ExitCode> {
    let root = root()?;
    match args {
        ["test"] => Ok(test::run(&root, false)),
        ["test", "--quick"] => Ok(test::run(&root, true)),
        ["sandbox", flags @ ..] => pass(&root, &["--package", "pontage"], &[["sandbox"].as_slice(), flags].concat()),
        ["sim", flags @ ..] => pass(&root, &["--release", "--package", "sim"], flags),
        ["bench", flags @ ..] => {
            bench::run(&root, flags)?;
            Ok(ExitCode::SUCCESS)
        }
        ["tidy"] => {
            suite::tidy(&root)?;
            Ok(ExitCode::SUCCESS)
        }
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("unknown task `{}`\n{USAGE}", args.join(" ")),
    }
}

/// Builds a binary of the workspace and becomes it, as far as the terminal sees.
fn pass(root: &Path, which: &[&str], args: &[&str]) -> Result<ExitCode> {
    let mut command = set_up::cargo_in(root, &["run", "--quiet", "--locked"]);
    eprintln!("building …");
    // Relative paths are the caller's.
    command.current_dir(std::env::current_dir()?).arg("--manifest-path").arg(root.join("Cargo.toml"));
    let status = command.args(which).arg("--").args(args).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The workspace, wherever the clone lies. Asked for at run time: two clones may share one build folder.
fn root() -> Result<PathBuf> {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    Ok(PathBuf::from(xtask).parent().context("xtask lies in the workspace")?.to_owned())
}
