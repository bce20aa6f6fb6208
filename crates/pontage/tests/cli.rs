//! The commands that end by themselves: what they print, and with which code they end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kit::{PAYEE, World, get, root, until};
use serde_json::Value;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}\n{}", self.out, self.err))
    }
}

/// Killed when dropped, should a test fail while it runs.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn pontage(folder: &Path, args: &[&str]) -> Ran {
    with_env(folder, args, &[])
}

/// Runs a command whose standard input stays open and silent, so that one that asks would never end.
fn with_env(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    for name in ["PONTAGE_FACILITATOR_URL", "PAY_GATE_FACILITATOR_URL", "FACILITATOR_URL", "PONTAGE_SIGNER_KEY"] {
        command.env_remove(name);
    }
    // Into files: a pipe that nobody reads would fill up.
    let (out, err) = (folder.join("stdout.txt"), folder.join("stderr.txt"));
    let file = |path: &Path| std::fs::File::create(path).unwrap();
    command.args(args).envs(env.iter().copied()).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(file(&out)).stderr(file(&err));
    let mut child = Running(command.spawn().unwrap());
    let mut code = None;
    until(&format!("`pontage {}` ends", args.join(" ")), || match child.0.try_wait().unwrap() {
        Some(status) => {
            code = status.code();
            true
        }
        None => false,
    });
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    Ran { code, out: read(&out), err: read(&err) }
}

#[test]
fn g_x14_the_version_is_the_same_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let manifest: toml::Value = toml::from_str(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let version = manifest["workspace"]["package"]["version"].as_str().unwrap();
    for args in [&["version"][..], &["--version"]] {
        let ran = pontage(folder.path(), args);
        assert_eq!((ran.code, ran.out, ran.err), (Some(0), format!("pontage {version}\n"), String::new()));
    }
    for args in [["version", "--json"], ["--json", "version"]] {
        assert_eq!(pontage(folder.path(), &args).json()["version"], version);
    }
    assert!(pontage(folder.path(), &["man"]).out.contains(version));
    let chart = std::fs::read_to_string(root().join("packaging/helm/Chart.yaml")).unwrap();
    assert!(chart.contains(&format!("appVersion: \"{version}\"\n")), "{chart}");
}

#[test]
fn g_006_validate_tells_people_and_programs() {
    let folder = tempfile::tempdir().unwrap();
    let ran = pontage(folder.path(), &["init", "--address", PAYEE]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let ran = pontage(folder.path(), &["validate"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "Config is valid.\n", ""));
    let ran = pontage(folder.path(), &["validate", "--json"]);
    assert_eq!((ran.code, &ran.json()["valid"]), (Some(0), &Value::Bool(true)));

    let path = folder.path().join("pontage.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("0.01", "0").replace("version: 1", "version: 2")).unwrap();
    let ran = pontage(folder.path(), &["validate"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.matches("Fix: ").count()), (Some(1), "", 2), "{}", ran.err);
    let ran = pontage(folder.path(), &["validate", "--json", "-c", "pontage.yaml"]);
    let said = ran.json();
    assert_eq!((ran.code, ran.err.as_str(), &said["valid"]), (Some(1), "", &Value::Bool(false)));
    let paths: Vec<_> = said["mistakes"].as_array().unwrap().iter().map(|mistake| mistake["path"].clone()).collect();
    assert_eq!(paths, ["version", "routes[1].price"]);
    for key in ["line", "what", "fix"] {
        assert!(!said["mistakes"][0][key].is_null(), "{said}");
    }
}

#[test]
fn g_007_init_writes_what_flags_say_and_asks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "init",
        "--address",
        PAYEE,
        "--target",
        "http://127.0.0.1:9000",
        "--path",
        "/v1/*",
        "--price",
        "0.25",
        "--network",
        "base",
        "--yes",
    ];
    let ran = pontage(folder.path(), &flags);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.err);
    for step in ["export PONTAGE_SIGNER_KEY", "pontage validate -c pontage.yaml", "pontage start -c pontage.yaml"] {
        assert!(ran.out.contains(step), "{}", ran.out);
    }
    assert_eq!(pontage(folder.path(), &["validate"]).code, Some(0));
    let written = std::fs::read_to_string(folder.path().join("pontage.yaml")).unwrap();
    let ran = pontage(folder.path(), &flags);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("exists already and is not overwritten"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(folder.path().join("pontage.yaml")).unwrap(), written);

    // Without a terminal nobody is asked: what no flag says is the default, and the payee is left to fill in.
    let ran = pontage(folder.path(), &["init", "-c", "second.yaml", "--json"]);
    let said = ran.json();
    assert_eq!((ran.code, said["wrote"].as_str()), (Some(0), Some("second.yaml")));
    assert!(said["next"][0].as_str().unwrap().contains("provider_address"), "{said}");
    let ran = pontage(folder.path(), &["validate", "-c", "second.yaml"]);
    assert!(ran.code == Some(1) && ran.err.contains("provider_address"), "{}", ran.err);

    let key = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    let wrong_checksum = PAYEE.replace("0x2096", "0x2097");
    for (flag, value, words) in [
        ("--address", wrong_checksum.as_str(), "checksum"),
        ("--address", key, "40 hex digits"),
        ("--target", "localhost:3000", "such as http://127.0.0.1:3000"),
        ("--signer-env", key, "never the key itself"),
        ("--signer-file", key, "never the key itself"),
    ] {
        let ran = pontage(folder.path(), &["init", "-c", "third.yaml", flag, value]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{}", ran.err);
        assert!(ran.err.contains(words) && !ran.err.contains(key), "{}", ran.err);
    }
    assert!(!folder.path().join("third.yaml").exists());
    let ran = pontage(folder.path(), &["init", "-c", "no/such/folder.yaml"]);
    assert!(ran.code == Some(1) && ran.err.contains("cannot be written"), "{}", ran.err);
}

#[test]
fn completions_and_manual_pages() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = pontage(folder.path(), &["completions", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{shell}");
        for word in ["validate", "facilitator-url", "completions"] {
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
        assert!(!ran.out.contains("Pay for one call"), "{shell}: hidden commands are for us");
    }
    assert_eq!(pontage(folder.path(), &["completions", "cmd"]).code, Some(2));

    let ran = pontage(folder.path(), &["man"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(ran.out.contains(".TH pontage 1") && ran.out.contains("Exit codes"), "{}", ran.out);
    let ran = pontage(folder.path(), &["man", "--dir", "."]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", ""));
    let mut pages: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    pages.retain(|name| name.to_string_lossy().ends_with(".1"));
    let named = |name: &str| pages.iter().any(|page| page.to_string_lossy() == name);
    assert!(named("pontage.1") && named("pontage-start.1") && named("pontage-ledger-audit.1"), "{pages:?}");
    assert!(!pages.iter().any(|page| page.to_string_lossy().contains("__pay")), "{pages:?}");
    let ran = pontage(folder.path(), &["man", "--dir", "nowhere"]);
    assert!(ran.code == Some(1) && ran.err.contains("nowhere"), "{}", ran.err);
}

#[test]
fn a_command_line_that_is_not_understood_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &[][..],
        &["strat"],
        &["start", "--sidecars"],
        &["start", "-p", "70000"],
        &["dev", "--sidecar"],
        &["validate", "-c"],
        &["start", "--facilitator-url", "ftp://a"],
        &["mock", "--facilitator-url", "http://me:DECAF@a"],
    ] {
        let ran = pontage(folder.path(), args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(!ran.err.is_empty() && !ran.err.contains("DECAF"), "{}", ran.err);
    }
    let ran = with_env(folder.path(), &["dev"], &[("PAY_GATE_FACILITATOR_URL", "DECAF")]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("PAY_GATE_FACILITATOR_URL: ") && !ran.err.contains("DECAF"), "{}", ran.err);
    let ran = pontage(folder.path(), &["--help"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(ran.out.contains("Exit codes:") && !ran.out.contains("__pay"), "{}", ran.out);
}

#[test]
fn g_009_a_start_that_is_refused_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["start", "dev", "mock"] {
        let ran = pontage(folder.path(), &[command]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
        assert!(ran.err.contains("pontage.yaml"), "{}", ran.err);
    }
    assert_eq!(pontage(folder.path(), &["init", "--address", PAYEE, "--network", "base"]).code, Some(0));
    let ran = pontage(folder.path(), &["dev"]);
    assert!(ran.code == Some(1) && ran.err.contains("`dev` runs on eip155:84532 alone"), "{}", ran.err);
    // The variable of others is named, and not read.
    let ran = with_env(folder.path(), &["start"], &[("FACILITATOR_URL", "http://127.0.0.1:9")]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("FACILITATOR_URL is set and not read; write PONTAGE_FACILITATOR_URL"), "{}", ran.err);
}

#[test]
fn health_says_by_its_code_whether_a_gate_answers() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    for (path, code) in [("/free/ok", 0), ("/paid/ok", 1), ("/nowhere", 1)] {
        let ran = pontage(folder.path(), &["health", "--url", &world.url(path)]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{path}: {}", ran.err);
    }
    let gone = world.url("/free/ok");
    drop(world);
    assert_eq!(pontage(folder.path(), &["health", "--url", &gone]).code, Some(1));
}

#[test]
fn the_books_are_json_where_json_is_asked_for() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let file = world.gate.journal().with_file_name("pontage.yaml");
    let config = file.to_str().unwrap();
    let asked = pontage(folder.path(), &["--json", "ledger", "show", "-c", config]);
    assert_eq!(asked.code, Some(0), "{}", asked.err);
    let format = pontage(folder.path(), &["ledger", "show", "--format", "json", "-c", config]);
    assert_eq!(asked.json(), format.json());
}

/// A configuration that costs nothing and so needs no chain.
fn free_only(folder: &Path, listen: &str) {
    let origin = "http://127.0.0.1:9";
    let text = format!(
        "version: 1\nlisten: {listen}\nprovider_address: \"{PAYEE}\"\nproxy: {{ target: \"{origin}\" }}\n\
         routes: [{{ path: /free, free: true }}]\n"
    );
    std::fs::write(folder.join("pontage.yaml"), text).unwrap();
}

/// Starts a gate, and returns the line in which it says where it listens. Its log is in the file `log`.
fn started(folder: &Path, args: &[&str]) -> (Running, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    let log = std::fs::File::create(folder.join("log")).unwrap();
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut gate = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(gate.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (gate, line)
}

#[test]
fn g_001_a_port_of_the_command_line_goes_before_the_files() {
    let folder = tempfile::tempdir().unwrap();
    // Where somebody listens, which is refused unless the flag holds.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    free_only(folder.path(), &listen);
    let (_gate, line) = started(folder.path(), &["start", "--json", "-p", "0"]);
    let said: Value = serde_json::from_str(&line).unwrap();
    let url = said["listening"].as_str().unwrap();
    assert_eq!((&said["test"], url.contains(&listen)), (&Value::Bool(false), false));
    assert_eq!(get(&format!("{url}/other"), &[]).status, 403);
    // What the file says of the port is no change that takes a restart: the flag holds after a reload as well.
    let path = folder.path().join("pontage.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("/free", "/other")).unwrap();
    until("it is reloaded", || get(&format!("{url}/other"), &[]).status == 502);
}

#[test]
fn g_002_dev_says_loudly_that_its_money_is_for_tests() {
    let folder = tempfile::tempdir().unwrap();
    free_only(folder.path(), "127.0.0.1:0");
    let (_gate, line) = started(folder.path(), &["dev", "--port", "0"]);
    assert!(line.starts_with("pontage listens on http://127.0.0.1:") && line.ends_with("(TESTNET MODE)\n"), "{line}");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let warning = log.lines().find(|line| line.contains("TESTNET MODE")).unwrap_or_else(|| panic!("{log}"));
    assert!(warning.contains("WARN") && !warning.starts_with('{'), "logs are for people: {warning}");
}
