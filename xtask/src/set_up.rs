//! What the suites need beyond the workspace, fetched when it is missing. Nothing is installed outside the build folder, but for parts
//! of the Rust tool chain, which rustup keeps.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// `cargo install cargo-deny --locked` of this version takes about three minutes on two cores, once per build folder.
const CARGO_DENY: &str = "0.20.2";

pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// The cargo that runs us, so that every suite uses one tool chain.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A `cargo` command in `root`. Colours are off: what it prints is also counted.
pub(crate) fn cargo_in(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(args).current_dir(root).env("CARGO_TERM_COLOR", "never");
    command
}

/// A part of the tool chain that is run as `cargo <name>`.
pub(crate) fn component(root: &Path, name: &str) -> Result<()> {
    let found = cargo_in(root, &[name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if found.success() {
        return Ok(());
    }
    let package = if name == "fmt" { "rustfmt" } else { name };
    run(Command::new("rustup").args(["component", "add", package]).current_dir(root))
}

pub(crate) fn wasm(root: &Path) -> Result<()> {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM])
        .current_dir(root)
        .output()
        .context("rustc")?;
    if Path::new(String::from_utf8_lossy(&asked.stdout).trim()).is_dir() {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", WASM]).current_dir(root))
}

/// The pinned cargo-deny, below the build folder; another version that the machine may have is not used.
pub(crate) fn cargo_deny(root: &Path) -> Result<PathBuf> {
    let metadata = metadata(root)?;
    let target = metadata["target_directory"].as_str();
    // The build folder may lie outside the clone.
    let target = Path::new(target.context("cargo names no build folder")?);
    let tools = target.join(format!("tools/cargo-deny-{CARGO_DENY}"));
    let binary = tools.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    if !binary.is_file() {
        println!("installing cargo-deny {CARGO_DENY}; this takes some minutes, once");
        let build = tools.join("build");
        let mut install = cargo_in(root, &["install", "cargo-deny", "--locked", "--version", CARGO_DENY]);
        run(install.arg("--root").arg(&tools).arg("--target-dir").arg(&build))?;
        std::fs::remove_dir_all(&build).context("removing the build of cargo-deny")?;
    }
    Ok(binary)
}

/// Where the reference implementations lie, as the end-to-end suite looks for them.
pub(crate) fn peers(root: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    Ok(vec![
        ("PONTAGE_PEERS_JS", xtask::peers::npm(root).context("npm peers")?),
        ("PONTAGE_PEERS_PYTHON", xtask::peers::python(root).context("Python peers")?),
        ("PONTAGE_FIAT_TOKEN", xtask::peers::fiat_token(root).context("FiatToken")?),
    ])
}

/// What cargo knows about the workspace; its dependencies are not resolved.
pub(crate) fn metadata(root: &Path) -> Result<serde_json::Value> {
    let mut command = cargo_in(root, &["metadata", "--format-version", "1", "--no-deps"]);
    let out = command.output().context("cargo metadata")?;
    let why = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "cargo metadata: {why}");
    serde_json::from_slice(&out.stdout).context("cargo metadata")
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
