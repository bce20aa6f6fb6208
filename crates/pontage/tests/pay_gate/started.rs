//! A gate that is started with words, an environment and a configuration of the test's own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::kit::{Answer, get};

/// What a test's own environment must not bring along.
const VARIABLES: [&str; 5] =
    ["PONTAGE_FACILITATOR_URL", "PAY_GATE_FACILITATOR_URL", "FACILITATOR_URL", "PONTAGE_SIGNER_KEY", "PONTAGE_LOG"];

/// A running gate. Killed when dropped.
pub(crate) struct Started {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Started {
    /// Runs it on any free port, whatever the configuration says.
    pub(crate) fn new(args: &[&str], env: &[(&str, &str)], config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pontage.yaml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
        for name in VARIABLES {
            command.env_remove(name);
        }
        // Into a file: a pipe that nobody reads would fill up.
        let log = std::fs::File::create(log_of(folder.path())).unwrap();
        command.args(args).args(["-p", "0"]).envs(env.iter().copied()).current_dir(folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut gate = Self { child, url: String::new(), folder };
        let at = line.find("http://").unwrap_or_else(|| panic!("{line}{}", gate.log()));
        line[at..].split_whitespace().next().unwrap().clone_into(&mut gate.url);
        gate
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(&self.url(path), &[])
    }

    /// Everything that was logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(log_of(self.folder.path())).unwrap()
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- the gate's log\n{}", self.log());
        }
    }
}

fn log_of(folder: &Path) -> std::path::PathBuf {
    folder.join("log")
}
