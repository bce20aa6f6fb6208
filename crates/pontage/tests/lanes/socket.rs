//! A key in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use super::*;

/// A running `pontage signer`. Killed when dropped.
struct SignerProcess(Child);

impl SignerProcess {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
        command.args(["signer", "--key-env", "SETTLER_KEY", "--config"]).arg(folder.join("signer.yaml"));
        command.arg("--socket").arg(folder.join("socket")).env("SETTLER_KEY", SETTLER.secret);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it speaks");
        assert!(line.starts_with("pontage signs on "), "{line}");
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for SignerProcess {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The gate holds no key. It settles and seals by the other process; while that is away what was served waits, and nothing is lost.
#[test]
fn a_key_in_a_process_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "version: 1\nprovider_address: \"{}\"\nroutes: [{{ path: /, price: \"0.01\" }}]\n\
         networks: {{ eip155:84532: {{ rpc_urls: [\"http://127.0.0.1:1\"] }} }}\n",
        kit::PAYEE
    );
    std::fs::write(folder.path().join("signer.yaml"), config).unwrap();
    let mut signer = SignerProcess::start(folder.path());
    let socket = folder.path().join("socket");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let facilitator = format!("signer: {{ socket: \"{}\" }}", socket.display());
    let mut world = World::with(ChainOptions::default(), &GateOptions { facilitator, ..GateOptions::direct() });
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    assert_eq!(by(&signed(&world), SETTLER).len(), 1);

    signer.kill();
    let payment = Paying::new(&world);
    let answer = payment.get(&world, "/paid/ok?away");
    assert_eq!((answer.status, answer.error().as_str()), (503, "settlement_pending"), "{}", answer.text());
    assert_eq!(world.paid(), PRICE, "nothing moved");
    let _signer = SignerProcess::start(folder.path());
    until("it is settled", || payment.state(&world).0 == "posted");
    assert_eq!((world.paid(), world.origin.runs("/paid/")), (2 * PRICE, 2));

    // A stop seals what is not sealed; the audit finds the signatures right.
    world.gate.stop();
    let db = Connection::open(world.gate.journal()).unwrap();
    let seals: i64 = db.query_row("SELECT count(*) FROM seals", [], |row| row.get(0)).unwrap();
    assert!(seals > 0);
    in_order(&world);
}
