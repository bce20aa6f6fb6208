//! `cargo xtask <task>`: the tasks of this workspace. Links none of the crates it checks.
#![expect(clippy::print_stdout, reason = "a task runner talks to a terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

mod sandbox;
mod set_up;
mod suite;
mod test;
mod tidy;

const USAGE: &str = "\
usage: cargo xtask <task>

  sandbox [--once] [--json]
                  start a chain, a gate, a demo API and a funded wallet here, make one paid call, show it, and stay up
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
        ["sandbox", flags @ ..] => {
            let mut options = sandbox::Options::default();
            for flag in flags {
                match *flag {
                    "--once" => options.once = true,
                    "--json" => options.json = true,
                    other => bail!("unknown flag `{other}`\n{USAGE}"),
                }
            }
            sandbox::run(&root, options)?;
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

/// The workspace, wherever the clone lies. Asked for at run time: two clones may share one build folder.
fn root() -> Result<PathBuf> {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    Ok(PathBuf::from(xtask).parent().context("xtask lies in the workspace")?.to_owned())
}
