//! Sets up the reference clients of `peers/`: npm packages, a Python environment and Circle's token code.
//!
//! Each function does nothing when its lock file has not changed since the last time. None of them checks that the
//! installed files are still whole; delete `peers/js/node_modules` or a folder `.venv` below `peers` when in doubt.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::debian::debian;

const NODE_MAJOR: u32 = 20;
/// The Python that `requirements.txt` was made with. An older one would need packages that it does not list.
const PYTHON_MINOR: u32 = 11;

/// Installs the npm packages of `peers/js` and returns that directory. The local chain's binary is among them.
pub fn npm(root: &Path) -> Result<PathBuf> {
    npm_in(root, "js")
}

/// Installs the npm packages of `peers/bench`, the server that measurements compare with, and returns that directory.
pub fn express(root: &Path) -> Result<PathBuf> {
    npm_in(root, "bench")
}

/// Installs the reference servers of `peers/servers`, which run on Node.js, and returns that directory.
pub fn servers(root: &Path) -> Result<PathBuf> {
    npm_in(root, "servers")
}

/// Installs the reference servers of `peers/servers-python` in a virtual environment there and returns its Python.
pub fn python_servers(root: &Path) -> Result<PathBuf> {
    environment(root, "servers-python")
}

/// Installs schemathesis, which asks an API for everything that its OpenAPI document says, and returns its Python.
pub fn schemathesis(root: &Path) -> Result<PathBuf> {
    environment(root, "schemathesis")
}

fn npm_in(root: &Path, which: &str) -> Result<PathBuf> {
    let dir = root.join("peers").join(which);
    let _turn = turn(root, "npm")?;
    let stamp = Stamp::read(&[&dir.join("package-lock.json")], dir.join("node_modules/.pontage-stamp"))?;
    if stamp.is_current() {
        return Ok(dir);
    }
    let node = format!("install Node.js {NODE_MAJOR} or newer: the reference clients run on it");
    let version = run(Command::new("node").arg("--version"), &node)?;
    let version = version.trim();
    let major = version.trim_start_matches('v').split('.').next();
    if major.and_then(|major| major.parse().ok()).is_none_or(|major: u32| major < NODE_MAJOR) {
        bail!("Node.js {version} is too old; {node}");
    }
    eprintln!("peers: npm ci, half a minute the first time");
    // No package of the tree needs its install script; not running them keeps foreign code out of the set-up.
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&dir);
    run(&mut install, "install npm, which comes with Node.js or as the package `npm`")?;
    stamp.write()?;
    Ok(dir)
}

/// Installs the packages of `peers/python` in a virtual environment there and returns its Python.
pub fn python(root: &Path) -> Result<PathBuf> {
    environment(root, "python")
}

/// Installs what `requirements.txt` of a folder of `peers` locks in a virtual environment there and returns its Python.
pub(crate) fn environment(root: &Path, name: &str) -> Result<PathBuf> {
    let dir = root.join("peers").join(name);
    let _turn = turn(root, name)?;
    let venv = dir.join(".venv");
    let python = venv.join("bin/python");
    let requirements = dir.join("requirements.txt");
    let stamp = Stamp::read(&[&requirements], venv.join(".pontage-stamp"))?;
    // The interpreter is a link to the system's, which an upgrade may have taken away.
    if stamp.is_current() && python.exists() {
        return Ok(python);
    }
    let wanted = format!("install Python 3.{PYTHON_MINOR} or newer as `python3`: the peers of `peers/{name}` need it");
    let ask = format!("import sys; print(sys.version_info >= (3, {PYTHON_MINOR}))");
    if run(Command::new("python3").args(["-c", &ask]), &wanted)?.trim() != "True" {
        bail!("this machine's `python3` is too old; {wanted}");
    }
    eprintln!("peers: pip install of peers/{name}, half a minute the first time");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    run(&mut make, &wanted).context("Python needs its venv module; on Debian install `python3-venv`")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"]);
    run(install.arg(&requirements), &wanted)?;
    stamp.write()?;
    Ok(python)
}

/// Go, which only the check of `examples/origin/go` needs.
pub fn go() -> Result<PathBuf> {
    debian("/usr/bin/go", &[], &["golang-go"])
}

/// Fetches the code of Circle's FiatToken V2_1 and returns the JSON file that holds it.
///
/// The code comes from PyPI (33 MB, once) and is checked by hash; it is not part of this repository.
pub fn fiat_token(root: &Path) -> Result<PathBuf> {
    let python = python(root)?;
    let _turn = turn(root, "fiat-token")?;
    let cache = root.join("target/peers");
    let artifact = cache.join("fiat-token-v2_1.json");
    let script = root.join("peers/python/fiat_token.py");
    let stamp = Stamp::read(&[&script], cache.join("fiat-token-v2_1.stamp"))?;
    if stamp.is_current() && artifact.exists() {
        return Ok(artifact);
    }
    let mut fetch = Command::new(python);
    fetch.arg(&script).arg(&cache).arg(&artifact);
    run(&mut fetch, "delete peers/python/.venv").context("Circle's token code could not be fetched from PyPI")?;
    stamp.write()?;
    Ok(artifact)
}

/// One process or thread at a time per `name`: tests start together, and two `npm ci` would destroy each other's work.
/// The turn ends when the file is dropped.
fn turn(root: &Path, name: &str) -> Result<File> {
    let dir = root.join("target/peers");
    fs::create_dir_all(&dir).with_context(|| format!("{} could not be made", dir.display()))?;
    let path = dir.join(format!("{name}.turn"));
    let file = File::create(&path).with_context(|| format!("{} could not be made", path.display()))?;
    file.lock().with_context(|| format!("{} could not be locked", path.display()))?;
    Ok(file)
}

/// Remembers, next to what was installed, which lock file it was installed from.
struct Stamp {
    path: PathBuf,
    hash: String,
}

impl Stamp {
    fn read(inputs: &[&Path], path: PathBuf) -> Result<Self> {
        let mut hash = FNV_START;
        for input in inputs {
            let bytes = fs::read(input).with_context(|| format!("{} could not be read", input.display()))?;
            hash = fnv(hash, &bytes);
        }
        Ok(Self { path, hash: format!("{hash:016x}") })
    }

    fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == self.hash)
    }

    fn write(&self) -> Result<()> {
        fs::write(&self.path, &self.hash).with_context(|| format!("{} could not be written", self.path.display()))
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a. It only has to notice a changed file, not to withstand anyone; the lock files carry the real hashes.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Runs to the end and answers what the program printed; its complaints are only shown when it fails.
///
/// `cure` says what to do when the program is not there.
pub(crate) fn run(command: &mut Command, cure: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no program `{program}` here; {cure}")
        }
        Err(error) => {
            return Err(error).with_context(|| format!("`{program}` could not be started"));
        }
    };
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let err = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}):\n{out}{err}", output.status);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_current_until_its_lock_file_changes() {
        let dir = std::env::temp_dir().join(format!("pontage-stamp-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (lock, path) = (dir.join("lock"), dir.join("stamp"));
        fs::write(&lock, "one").unwrap();
        let stamp = Stamp::read(&[&lock], path.clone()).unwrap();
        assert!(!stamp.is_current(), "nothing was written yet");
        stamp.write().unwrap();
        assert!(Stamp::read(&[&lock], path.clone()).unwrap().is_current());
        fs::write(&lock, "two").unwrap();
        assert!(!Stamp::read(&[&lock], path).unwrap().is_current());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_missing_program_is_named_with_its_cure() {
        let error = run(&mut Command::new("no-such-program"), "install it").unwrap_err();
        assert_eq!(error.to_string(), "there is no program `no-such-program` here; install it");
    }
}
