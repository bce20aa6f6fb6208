//! The suites of `cargo xtask test`, in the order they run: cheap ones first.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::set_up::{self, cargo_in};

/// One line of the table that `cargo xtask test` prints.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// Whether `--quick` runs it.
    pub(crate) quick: bool,
    /// How its result is counted.
    pub(crate) count: Count,
    /// What its output holds when the code does not compile, so that what follows would only say so again.
    pub(crate) broken_build: Option<&'static str>,
    pub(crate) work: Work,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// The whole suite is one check.
    Check,
    /// The sum of cargo's `test result:` lines.
    Tests,
}

pub(crate) enum Work {
    /// Sets up what the suite needs, then gives the commands to run. All of them run, whatever became of the first.
    Commands(fn(&Path) -> Result<Vec<Command>>),
    /// Runs in this process and prints what it finds.
    Here(fn(&Path) -> Result<()>),
}

/// All suites that `root` has.
pub(crate) fn all(root: &Path) -> Vec<Suite> {
    let check =
        |name, work| Suite { name, quick: false, count: Count::Check, broken_build: None, work: Work::Commands(work) };
    let quick = |suite: Suite| Suite { quick: true, ..suite };
    let tests = |suite: Suite| Suite { count: Count::Tests, broken_build: Some("error: could not compile"), ..suite };
    let mut suites = vec![
        quick(check("fmt", fmt)),
        // A lint also reads "could not compile"; an error with a number is the compiler's own.
        Suite { broken_build: Some("error[E"), ..quick(check("clippy", clippy)) },
        Suite { name: "tidy", quick: true, count: Count::Check, broken_build: None, work: Work::Here(tidy) },
        quick(check("wasm", wasm)),
        quick(tests(check("unit", unit))),
        tests(check("end-to-end", end_to_end)),
        tests(check("on the tab", on_the_tab)),
        tests(check("on devnet", on_devnet)),
        tests(check("devnet, tab", on_devnet_and_tab)),
        check("simulator", simulator),
        check("sandbox", sandbox),
        check("generated", generated),
        check("docs", docs),
        check("deny", deny),
    ];
    if root.join("fuzz/Cargo.toml").is_file() {
        suites.push(check("fuzz build", fuzz_build));
    }
    suites
}

/// The README's first command, which itself checks that the money moved.
fn sandbox(root: &Path) -> Result<Vec<Command>> {
    Ok(vec![cargo_in(root, &["run", "--quiet", "--package", "pontage", "--", "sandbox", "--once", "--json"])])
}

/// Prints every finding; fails when there is one.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let findings = crate::tidy::check(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "tidy: {} findings", findings.len());
    Ok(())
}

fn fmt(root: &Path) -> Result<Vec<Command>> {
    set_up::component(root, "fmt")?;
    Ok(vec![cargo_in(root, &["fmt", "--all", "--check"])])
}

fn clippy(root: &Path) -> Result<Vec<Command>> {
    set_up::component(root, "clippy")?;
    Ok(vec![cargo_in(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])])
}

fn wasm(root: &Path) -> Result<Vec<Command>> {
    set_up::wasm(root)?;
    let mut command = cargo_in(root, &["check", "--target", set_up::WASM, "--no-default-features"]);
    command.args(["-p", "protocol", "-p", "ledger", "-p", "gate", "-p", "facilitator", "-p", "wallet"]);
    Ok(vec![command])
}

fn unit(root: &Path) -> Result<Vec<Command>> {
    let mut binary = cargo_in(root, &["test", "--no-fail-fast", "-p", "pontage", "--bins"]);
    // Cargo refuses `--lib` where there is none.
    if root.join("crates/pontage/src/lib.rs").is_file() {
        binary.arg("--lib");
    }
    Ok(vec![cargo_in(root, &["test", "--no-fail-fast", "--workspace", "--exclude", "pontage"]), binary])
}

/// The suites whose sentences hold on every chain and for every kind of settlement; tests/kit reads the two variables.
const EVERYWHERE: [&str; 7] = ["clients", "forged", "borders", "races", "outcomes", "stop", "kill"];
const TAB: (&str, &str) = ("PONTAGE_TEST_RAIL", "tab");
const DEVNET: (&str, &str) = ("PONTAGE_TEST_CHAIN", "devnet");

/// Every suite, on anvil.
fn end_to_end(root: &Path) -> Result<Vec<Command>> {
    Ok(vec![e2e(root, &["*"], &[])?])
}

fn on_the_tab(root: &Path) -> Result<Vec<Command>> {
    Ok(vec![e2e(root, &EVERYWHERE, &[TAB])?])
}

fn on_devnet(root: &Path) -> Result<Vec<Command>> {
    Ok(vec![e2e(root, &EVERYWHERE, &[DEVNET])?])
}

fn on_devnet_and_tab(root: &Path) -> Result<Vec<Command>> {
    Ok(vec![e2e(root, &EVERYWHERE, &[DEVNET, TAB])?])
}

fn e2e(root: &Path, names: &[&str], variables: &[(&str, &str)]) -> Result<Command> {
    let mut command = cargo_in(root, &["test", "--no-fail-fast", "-p", "pontage"]);
    for name in names {
        command.args(["--test", name]);
    }
    command.envs(set_up::peers(root)?).envs(variables.iter().copied());
    Ok(command)
}

fn simulator(root: &Path) -> Result<Vec<Command>> {
    Ok(vec![cargo_in(root, &["run", "--quiet", "--release", "--package", "sim", "--", "--seeds", "10000"])])
}

fn generated(root: &Path) -> Result<Vec<Command>> {
    let mut command = Command::new("node");
    command
        .args(["peers/js/compile.mjs", "--check"])
        .current_dir(root)
        .env("PONTAGE_PEERS_JS", xtask::peers::npm(root)?);
    Ok(vec![command])
}

fn docs(root: &Path) -> Result<Vec<Command>> {
    let mut command = cargo_in(root, &["doc", "--workspace", "--no-deps", "--document-private-items"]);
    command.env("RUSTDOCFLAGS", "-Dwarnings");
    Ok(vec![command])
}

fn deny(root: &Path) -> Result<Vec<Command>> {
    let mut command = Command::new(set_up::cargo_deny(root)?);
    command.args(["--offline", "check", "bans", "licenses", "sources"]).current_dir(root);
    // It reads the manifests of every platform's crates, which no build here has fetched.
    Ok(vec![cargo_in(root, &["fetch", "--locked"]), command])
}

fn fuzz_build(root: &Path) -> Result<Vec<Command>> {
    Ok(vec![cargo_in(root, &["check", "--manifest-path", "fuzz/Cargo.toml"])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_is_fmt_clippy_tidy_wasm_and_unit() {
        let suites = all(Path::new("nowhere"));
        let quick: Vec<_> = suites.iter().filter(|suite| suite.quick).map(|suite| suite.name).collect();
        assert_eq!(quick, ["fmt", "clippy", "tidy", "wasm", "unit"]);
        assert!(matches!(suites.iter().find(|suite| suite.name == "tidy").unwrap().work, Work::Here(_)));
    }
}
