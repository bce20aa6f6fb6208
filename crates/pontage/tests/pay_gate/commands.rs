//! The command line: G-001 to G-010.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::kit::{PAYEE, get};

/// A whole configuration that charges, but for nothing that needs a chain to be checked.
pub(crate) const GOOD: &str = "version: 1
provider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"
proxy: { target: \"http://127.0.0.1:3000\" }
routes:
  - { path: /paid/*, price: \"0.01\" }
networks: { \"eip155:84532\": { rpc_urls: [\"http://127.0.0.1:8545\"] } }
";

/// One that costs nothing and so needs no chain, on a free port.
const FREE: &str = "version: 1
listen: 127.0.0.1:0
provider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"
proxy: { target: \"http://127.0.0.1:9\" }
routes: [{ path: /free, free: true }]
";

/// Runs the binary in a folder to its end.
fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pontage")).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What `validate` says about a configuration that is not good, with its exit code checked.
pub(crate) fn refused(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pontage.yaml"), config).unwrap();
    let ran = run(folder.path(), &["validate"]);
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(1), ""), "{config}");
    text(&ran.stderr)
}

/// `validate` takes it.
pub(crate) fn taken(config: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pontage.yaml"), config).unwrap();
    let ran = run(folder.path(), &["validate"]);
    assert_eq!(
        (ran.status.code(), text(&ran.stdout).as_str()),
        (Some(0), "Config is valid.\n"),
        "{}",
        text(&ran.stderr)
    );
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts it in a folder, and returns the line in which it says where it listens.
fn listens(folder: &Path, args: &[&str]) -> (Running, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

#[test]
fn g_001_start_reads_the_configuration_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other.yaml"), FREE).unwrap();
    std::fs::write(folder.path().join("pontage.yaml"), FREE).unwrap();
    for args in [&["start", "-c", "other.yaml"][..], &["start", "--config", "other.yaml"], &["start"]] {
        let (_running, line) = listens(folder.path(), args);
        let url = line[line.find("http://").unwrap_or_else(|| panic!("{args:?}: {line}"))..].split_whitespace().next();
        assert_eq!(get(url.unwrap(), &[]).status, 403, "{args:?}");
        std::fs::remove_file(folder.path().join("pontage.db")).ok();
    }
}

#[test]
fn g_006_validate_says_yes_or_what_is_wrong() {
    taken(GOOD);
    let said = refused(&GOOD.replace("0.01", "free"));
    assert!(said.contains("routes[0].price") && said.contains("pontage.yaml:5"), "{said}");
}

#[test]
fn g_007_init_writes_a_starter_configuration() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init"]).status.success());
    let written = std::fs::read_to_string(folder.path().join("pontage.yaml")).unwrap();
    assert!(written.contains("version: 1") && written.contains("127.0.0.1:8402"), "{written}");
    taken(&written.replace("0x0000000000000000000000000000000000000000", PAYEE));
    assert!(!run(folder.path(), &["init"]).status.success(), "it is not overwritten");
}

#[test]
fn g_008_version_twice() {
    let folder = tempfile::tempdir().unwrap();
    for args in [["version"], ["--version"]] {
        let ran = run(folder.path(), &args);
        assert_eq!(
            (ran.status.code(), text(&ran.stdout)),
            (Some(0), format!("pontage {}\n", env!("CARGO_PKG_VERSION")))
        );
    }
}

#[test]
fn g_009_a_bad_configuration_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    for (what, with) in
        [("http://127.0.0.1:9", "127.0.0.1:9"), ("version: 1", "version: 2"), ("free: true", "free: maybe")]
    {
        std::fs::write(folder.path().join("pontage.yaml"), FREE.replace(what, with)).unwrap();
        let ran = run(folder.path(), &["start"]);
        assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(1), ""), "{with}");
        assert!(text(&ran.stderr).contains("Fix: "), "{with}: {}", text(&ran.stderr));
    }
}
