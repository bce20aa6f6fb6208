//! A real proxy that runs the very files of `examples/sidecar`: only addresses and folders are other ones.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use xtask::proxies::{self, NGINX_MODULES};

use crate::kit::{get, root, until};

/// One folder of `examples/sidecar`, and what its README claims of it.
pub(crate) struct Kind {
    pub(crate) folder: &'static str,
    /// Whether `PAYMENT-RESPONSE` reaches who has paid.
    pub(crate) receipt: bool,
    /// Whether the gate hears how the origin answered.
    pub(crate) outcome: bool,
    /// Whether it also hears that the origin could not be reached.
    pub(crate) no_answer: bool,
    /// Whether the gate's own 5xx reaches the caller with its headers and its body.
    pub(crate) faults: bool,
}

/// A running proxy. Killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Proxy {
    pub(crate) fn start(kind: &Kind, gate: u16, origin: u16) -> Self {
        // Another process may take the port between our look and the proxy's.
        for _ in 0..5 {
            let mut proxy = Self::spawn(kind, gate, origin);
            let mut ended = false;
            until("the proxy listens", || {
                ended = proxy.child.try_wait().expect("a child").is_some();
                ended || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).is_ok()
            });
            if !ended {
                // Traefik listens before it has read its routes.
                until("the proxy has its routes", || get(&proxy.url(), &[]).status != 404);
                return proxy;
            }
            eprintln!("--- {} ended at once:\n{}", kind.folder, proxy.log());
        }
        panic!("{} does not start", kind.folder);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn spawn(kind: &Kind, gate: u16, origin: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (port, inner) = (free_port(), free_port());
        let ports = [("8080", port), ("8402", gate), ("8403", inner), ("3000", origin)];
        for file in fs::read_dir(root().join("examples/sidecar").join(kind.folder)).expect("the example") {
            let file = file.expect("a file");
            let text = fs::read_to_string(file.path()).expect("a text file");
            fs::write(folder.path().join(file.file_name()), here(&text, folder.path(), &ports)).expect("it is written");
        }
        let mut command = command(kind, folder.path());
        let log = File::create(folder.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        // Caddy keeps its state there.
        command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, folder, port }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("--- the proxy's log\n{}", self.log());
        }
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// The file as it runs in a test: on loopback only, on other ports, in another folder.
fn here(text: &str, folder: &Path, ports: &[(&str, u16)]) -> String {
    let folder = format!("{}/", folder.display());
    let mut text = text.to_owned();
    for (from, to) in [
        ("listen 8080;", "listen 127.0.0.1:8080;"),
        ("bind :8080", "bind 127.0.0.1:8080"),
        ("address: \":8080\"", "address: \"127.0.0.1:8080\""),
        ("\n:8080 {", "\n:8080 {\n\tbind 127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("/etc/haproxy/", &folder),
        ("/etc/traefik/", &folder),
    ] {
        text = text.replace(from, to);
    }
    // Number by number, since a port that was put in may look like one to be replaced.
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        match ports.iter().find(|(port, _)| *port == digits) {
            Some((_, port)) => out.push_str(&format!("{port}{}", &word[digits.len()..])),
            None => out.push_str(word),
        }
    }
    out
}

fn command(kind: &Kind, folder: &Path) -> Command {
    let program = |found: anyhow::Result<PathBuf>| Command::new(found.expect("the proxy is installed"));
    let at = |name: &str| folder.join(name);
    match kind.folder {
        "caddy" => {
            let mut command = program(proxies::caddy());
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(at("Caddyfile"));
            command
        }
        "haproxy" => {
            let mut command = program(proxies::haproxy());
            command.args(["-db", "-f"]).arg(at("haproxy.cfg"));
            command
        }
        "envoy" => {
            let mut command = program(proxies::envoy(&root()));
            command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"]);
            command.arg(at("envoy.yaml"));
            command
        }
        "traefik" => {
            let mut command = program(proxies::traefik(&root()));
            command.arg(format!("--configfile={}", at("traefik.yaml").display()));
            command
        }
        _ => {
            fs::write(at("nginx.conf"), nginx_conf(kind, folder)).expect("it is written");
            let mut command = program(proxies::nginx());
            command.arg("-c").arg(at("nginx.conf")).arg("-p").arg(folder).args(["-e", "stderr"]);
            command
        }
    }
}

/// What Debian has around a file of `/etc/nginx/conf.d/`. One process, so that killing it leaves none.
fn nginx_conf(kind: &Kind, folder: &Path) -> String {
    let modules: &[&str] = match kind.folder {
        "nginx-njs" => &["ngx_http_js_module"],
        "nginx-lua" => &["ndk_http_module", "ngx_http_lua_module"],
        _ => &[],
    };
    let load: String = modules.iter().map(|module| format!("load_module {NGINX_MODULES}/{module}.so;\n")).collect();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {name};\n"))
        .collect();
    let folder = folder.display();
    format!(
        "{load}daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temp}include {folder}/pontage.conf;\n}}\n"
    )
}
