//! The systems that pontage is compared with, fetched when they are missing, and the binaries under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::rows::{Row, System};
use crate::set_up::{cargo_in, metadata};

/// `cargo install pay-gate` of this version takes about two minutes on two cores, once per build folder.
const PAY_GATE: &str = "0.4.0";

/// What a run needs.
pub(super) struct Tools {
    pub(super) pontage: PathBuf,
    pub(super) signer: PathBuf,
    pub(super) pay_gate: PathBuf,
    pub(super) express: PathBuf,
    /// Below the build folder; emptied by each run.
    pub(super) folder: PathBuf,
    /// Whether `pontage start` knows `--sidecar`.
    pub(super) has_sidecar: bool,
}

pub(super) fn tools(root: &Path, rows: &[&Row]) -> Result<Tools> {
    let asked = |system| rows.iter().any(|row| row.system == system);
    let mut packages = vec!["wrk", "nginx"];
    if asked(System::Caddy) {
        packages.push("caddy");
    }
    debian(&packages)?;
    let metadata = metadata(root)?;
    let target = PathBuf::from(metadata["target_directory"].as_str().context("cargo names no build folder")?);
    eprintln!("building pontage with the release profile …");
    let mut build = cargo_in(root, &["build", "--release", "--locked", "--package", "pontage", "--bin", "pontage"]);
    run(build.args(["--example", "bench_signer"]))?;
    let pontage = target.join("release/pontage");
    let help = Command::new(&pontage).args(["start", "--help"]).output()?;
    let has_sidecar = String::from_utf8_lossy(&help.stdout).contains("--sidecar");
    let folder = target.join("bench");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("what an earlier run left")?;
    }
    fs::create_dir_all(&folder)?;
    Ok(Tools {
        pontage,
        signer: target.join("release/examples/bench_signer"),
        pay_gate: pay_gate(root, &target, asked(System::PayGate) || asked(System::PayGateMock))?,
        express: if asked(System::Express) { xtask::peers::express(root)? } else { PathBuf::new() },
        folder,
        has_sidecar,
    })
}

fn pay_gate(root: &Path, target: &Path, asked: bool) -> Result<PathBuf> {
    let tools = target.join(format!("tools/pay-gate-{PAY_GATE}"));
    let binary = tools.join("bin/pay-gate");
    if asked && !binary.is_file() {
        eprintln!("installing pay-gate {PAY_GATE}; this takes some minutes, once");
        let build = tools.join("build");
        let mut install = cargo_in(root, &["install", "pay-gate", "--locked", "--version", PAY_GATE]);
        run(install.arg("--root").arg(&tools).arg("--target-dir").arg(&build))?;
        fs::remove_dir_all(&build).context("removing the build of pay-gate")?;
    }
    Ok(binary)
}

/// Debian's packages, where their program is missing. None of their services is started.
fn debian(packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages.iter().copied().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install {} (Debian packages of these names), or run this as root", missing.join(", "));
    let user = Command::new("id").arg("-u").output().context("id")?;
    if String::from_utf8_lossy(&user.stdout).trim() != "0" {
        bail!("{by_hand}");
    }
    eprintln!("installing {}", missing.join(", "));
    let policy = Policy::forbid_starts()?;
    let mut update = Command::new("apt-get");
    run(update.arg("update").stdout(Stdio::null())).with_context(|| by_hand.clone())?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "--no-install-recommends"]).args(missing);
    run(install.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null())).with_context(|| by_hand)?;
    drop(policy);
    Ok(())
}

fn is_there(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"].iter().any(|folder| Path::new(folder).join(program).is_file())
}

/// Debian starts a service that it installs unless this file forbids it. One that was there stays as it is.
struct Policy(Option<PathBuf>);

impl Policy {
    fn forbid_starts() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Ok(Self(None));
        }
        fs::write(&path, "#!/bin/sh\nexit 101\n").context("policy-rc.d")?;
        let policy = Self(Some(path.clone()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Left behind it would only go on forbidding.
            drop(fs::remove_file(path));
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
