//! Programs from Debian's packages. Nothing is installed that is there already, and no service is started.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::peers;

/// Asked by Debian's packages whether they may start their service.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Where an existing policy waits meanwhile.
const POLICY_ASIDE: &str = "/usr/sbin/policy-rc.d.before-pontage";
/// "Forbidden", whatever was asked.
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// A program of Debian's, after installing `packages` when it or one of `files` is missing.
pub(crate) fn debian(program: &str, files: &[PathBuf], packages: &[&str]) -> Result<PathBuf> {
    let program = PathBuf::from(program);
    let there = || program.exists() && files.iter().all(|file| file.exists());
    if there() {
        return Ok(program);
    }
    let cure =
        format!("install it on Debian 12 as root: apt-get install --no-install-recommends {}", packages.join(" "));
    let user = peers::run(Command::new("id").arg("-u"), &cure)?;
    ensure!(user.trim() == "0", "{} is not here; {cure}", program.display());
    // One at a time on the whole machine, since the policy is the machine's. The folder is only locked, not changed.
    let turn = File::open("/var/lib/apt").with_context(|| format!("this is no Debian; {cure}"))?;
    turn.lock().context("apt's folder could not be locked")?;
    if there() {
        return Ok(program);
    }
    eprintln!("proxies: apt-get install {}", packages.join(" "));
    let _policy = Policy::forbid_services()?;
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends"]).args(words);
        peers::run(command.env("DEBIAN_FRONTEND", "noninteractive"), &cure)
    };
    apt(&["update"])?;
    apt(&[&["install"], packages].concat())?;
    ensure!(there(), "{} is still not here after its packages were installed", program.display());
    Ok(program)
}

/// While it lives, no package starts a service. What the machine had before comes back when it is dropped.
struct Policy;

impl Policy {
    fn forbid_services() -> Result<Self> {
        let (policy, aside) = (Path::new(POLICY), Path::new(POLICY_ASIDE));
        // One that is still aside was left by an installation that was killed; what lies in its place is ours.
        if policy.exists() && !aside.exists() {
            fs::rename(policy, aside).context("the machine's policy-rc.d could not be put aside")?;
        }
        let guard = Self;
        fs::write(policy, NO_SERVICES).context("policy-rc.d could not be written")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).context("policy-rc.d is not executable")?;
        Ok(guard)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let restored =
            if Path::new(POLICY_ASIDE).exists() { fs::rename(POLICY_ASIDE, POLICY) } else { fs::remove_file(POLICY) };
        if let Err(error) = restored {
            eprintln!("proxies: {POLICY} could not be put back: {error}");
        }
    }
}
