//! The real binary.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{ADMIN_TOKEN, PAYEE, REFUNDER, SETTLER, TOKEN, on_tab, until};

/// What gate and origin share, where `proxy.trust_secret` says so.
pub(crate) const TRUST_SECRET: &str = "between the gate and its origin";

/// What a test may want otherwise.
pub(crate) struct GateOptions {
    /// Further lines of the configuration.
    pub(crate) more: String,
    /// Further words of the command line.
    pub(crate) arguments: &'static [&'static str],
    /// Further keys of `proxy`, in YAML. The variable `PONTAGE_TRUST_SECRET` is there for them.
    pub(crate) proxy: &'static str,
    /// `proxy.timeout`.
    pub(crate) timeout: &'static str,
    /// `routes`, in YAML.
    pub(crate) routes: &'static str,
    /// Whether `settlement: direct` means that on either run of the suites.
    pub(crate) pinned: bool,
    /// Whether `settlement: direct` is replaced by the tab on either run.
    pub(crate) on_tab: bool,
    /// `tab`, in YAML, where the routes are put there.
    pub(crate) tab: &'static str,
    /// `facilitator`, in YAML.
    pub(crate) facilitator: String,
    /// Whether the network has a node.
    pub(crate) node: bool,
    /// Further nodes of it, behind the first.
    pub(crate) nodes: Vec<String>,
    /// Further keys of the network, in YAML.
    pub(crate) network: &'static str,
}

impl GateOptions {
    /// Every payment is settled before its answer is released, whatever the run: for what exists on that rail alone.
    pub(crate) fn direct() -> Self {
        Self { pinned: true, ..Self::default() }
    }

    /// Caps that nobody reaches: for many payments at once, which would be settled direct above them.
    pub(crate) fn uncapped() -> Self {
        let more = "exposure: { per_payer: 1000, per_source: 1000, per_gate: 1000 }".to_owned();
        Self { more, ..Self::default() }
    }
}

impl Default for GateOptions {
    fn default() -> Self {
        let routes = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: direct }\n";
        Self {
            more: String::new(),
            arguments: &[],
            proxy: "",
            timeout: "5s",
            routes,
            pinned: false,
            on_tab: false,
            tab: "settle_age_s: 1",
            facilitator: "signer: { env: PONTAGE_SIGNER_KEY }".to_owned(),
            node: true,
            nodes: Vec::new(),
            network: "",
        }
    }
}

/// A running gate. Killed when dropped.
pub(crate) struct Gate {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
    log: Arc<Mutex<String>>,
    on_tab: bool,
    arguments: &'static [&'static str],
}

impl Gate {
    pub(crate) fn start(rpc_url: &str, upstream: &str, options: &GateOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // `cargo xtask test` runs some suites once more with every payment on the tab.
        let on_tab = options.on_tab || (on_tab() && !options.pinned);
        let (routes, tab) = if on_tab {
            (options.routes.replace("settlement: direct", "settlement: tab"), format!("tab: {{ {} }}", options.tab))
        } else {
            (options.routes.to_owned(), String::new())
        };
        let urls: Vec<_> = std::iter::once(rpc_url).chain(options.nodes.iter().map(String::as_str)).collect();
        let nodes = || format!("rpc_urls: [\"{}\"], {}", urls.join("\", \""), options.network);
        let node = if options.node { nodes() } else { String::new() };
        // Every test calls from one address, and most of them are in a hurry.
        let limits =
            if options.more.contains("limits:") { "" } else { "rate_limits: { per_agent: off, verification: off }\n" };
        let config = format!(
            "version: 1\nlisten: 127.0.0.1:0\nprovider_address: \"{PAYEE}\"\n\
             proxy: {{ target: \"{upstream}\", timeout: {}, {} }}\nroutes:\n{}\
             networks:\n  eip155:84532: {{ {node} }}\n\
             facilitator: {{ {} }}\n{limits}{}\n{tab}\n",
            options.timeout, options.proxy, routes, options.facilitator, options.more
        );
        std::fs::write(folder.path().join("pontage.yaml"), config).expect("the configuration is written");
        Self::in_folder(folder, on_tab, options.arguments)
    }

    fn in_folder(folder: tempfile::TempDir, on_tab: bool, arguments: &'static [&'static str]) -> Self {
        let log = Arc::new(Mutex::new(String::new()));
        let started = spawn(command(folder.path(), arguments), &log, |_| {});
        let (child, url) = started.unwrap_or_else(|| panic!("{}", log.lock().unwrap()));
        Self { child, url, folder, log, on_tab, arguments }
    }

    /// Kills the process as a power cut would, and starts it again on the same journal.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the gate is killed");
        self.child.wait().expect("the gate has ended");
    }

    /// Asks it to stop, as a service manager does, and waits for its end.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        self.ask_to_stop();
        self.child.wait().expect("the gate ends")
    }

    /// Asks it to stop and does not wait.
    pub(crate) fn ask_to_stop(&self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(asked.success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("the gate ends")
    }

    /// Puts other words into the configuration. Whoever runs on it has not heard of it yet.
    pub(crate) fn rewrite(&self, what: &str, with: &str) {
        let path = self.folder.path().join("pontage.yaml");
        let text = std::fs::read_to_string(&path).expect("the configuration is read");
        assert!(text.contains(what), "{what} is not in {text}");
        std::fs::write(path, text.replace(what, with)).expect("the configuration is written");
    }

    /// Asks it to read its configuration again.
    pub(crate) fn ask_to_reload(&self) {
        let asked = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(asked.success());
    }

    pub(crate) fn restart(&mut self) {
        self.restart_while(|_| {});
    }

    /// Starts a process that has ended, and does something to it, by its id, while it starts.
    pub(crate) fn restart_while(&mut self, meanwhile: impl FnOnce(u32)) {
        let started = spawn(self.command(), &self.log, meanwhile);
        (self.child, self.url) = started.unwrap_or_else(|| panic!("{}", self.log()));
    }

    /// Starts a process that has ended so that it kills itself at a fault point, which may be before it listens.
    pub(crate) fn restart_to_die(&mut self, point: &str) {
        let (child, url) = spawn_to_die(self.command(), &self.log, point);
        self.child = child;
        self.url = url.unwrap_or_else(|| self.url.clone());
    }

    /// Waits until it has killed itself.
    pub(crate) fn died(&mut self, point: &str) {
        died(&mut self.child, point);
    }

    /// Starts a process that was killed, and kills it again after a moment, whatever it has come to.
    pub(crate) fn start_and_kill(&mut self, after: Duration) {
        self.child = self.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a start");
        thread::park_timeout(after);
        self.kill();
    }

    fn command(&self) -> Command {
        command(self.folder.path(), self.arguments)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The process, for a look at what it takes.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the run puts its payments on the tab.
    pub(crate) fn on_tab(&self) -> bool {
        self.on_tab
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("pontage.db")
    }

    /// Everything that was logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(["start", "--config"]).arg(folder.join("pontage.yaml")).args(arguments).stdin(Stdio::null());
    let secrets = [SETTLER.secret, TOKEN, TRUST_SECRET, REFUNDER.secret, ADMIN_TOKEN];
    let names = [
        "PONTAGE_SIGNER_KEY",
        "PONTAGE_TEST_TOKEN",
        "PONTAGE_TRUST_SECRET",
        "PONTAGE_REFUNDS_KEY",
        "PONTAGE_ADMIN_TOKEN",
    ];
    command.envs(names.into_iter().zip(secrets));
    command
}

/// Starts the binary and waits until it listens. `None` when it ends before; the log says why.
pub(super) fn spawn(
    command: Command,
    log: &Arc<Mutex<String>>,
    meanwhile: impl FnOnce(u32),
) -> Option<(Child, String)> {
    let (mut child, reader, url) = launch(command, log, meanwhile);
    if url.is_none() {
        child.wait().expect("the gate has ended");
        reader.join().expect("the log is read");
    }
    url.map(|url| (child, url))
}

/// Starts the binary so that it kills itself at a fault point, and waits until it listens or has ended.
pub(super) fn spawn_to_die(mut command: Command, log: &Arc<Mutex<String>>, point: &str) -> (Child, Option<String>) {
    command.env("PONTAGE_KILL_AT", point);
    let (child, _, url) = launch(command, log, |_| {});
    (child, url)
}

/// Waits until a process has killed itself.
pub(super) fn died(child: &mut Child, point: &str) {
    let mut status = None;
    until(&format!("it dies at {point}"), || {
        status = child.try_wait().expect("a status");
        status.is_some()
    });
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(9), "{point}: it ended otherwise: {status:?}");
}

fn launch(
    mut command: Command,
    log: &Arc<Mutex<String>>,
    meanwhile: impl FnOnce(u32),
) -> (Child, thread::JoinHandle<()>, Option<String>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    meanwhile(child.id());
    let mut errors = child.stderr.take().expect("a pipe");
    let log = Arc::clone(log);
    let reader = thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = errors.read(&mut bytes) {
            log.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("the gate speaks");
    let url = line.find("http://").map(|at| line[at..].split_whitespace().next().unwrap_or_default().to_owned());
    (child, reader, url)
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("--- the gate's log\n{}", self.log());
        }
    }
}
