//! A facilitator of ours, as a process of its own.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::exact::Fields;
use protocol::x402::{Credential, Version};
use protocol::{AssetInfo, Network, Offer, OfferExtra};
use serde_json::{Value, json};

use super::gate::{died, spawn, spawn_to_die};
use super::{Answer, Books, PAYEE, PRICE, Payer, SETTLER, TOKEN, request, try_request};

/// A running `pontage facilitator`. Killed when dropped.
pub(crate) struct Service {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
    log: Arc<Mutex<String>>,
}

impl Service {
    /// One that settles for whoever has [`TOKEN`].
    pub(crate) fn start(rpc_url: &str) -> Self {
        Self::with(rpc_url, "callers: [{ name: shop, bearer: { env: PONTAGE_TEST_TOKEN } }]", "")
    }

    /// `service` and further lines of the configuration, in YAML.
    pub(crate) fn with(rpc_url: &str, service: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "version: 1\nlisten: 127.0.0.1:0\nnetworks:\n  eip155:84532: {{ rpc_urls: [\"{rpc_url}\"] }}\n\
             facilitator: {{ signer: {{ env: PONTAGE_SIGNER_KEY }} }}\nservice: {{ {service} }}\n{more}\n"
        );
        std::fs::write(folder.path().join("facilitator.yaml"), config).expect("the configuration is written");
        let log = Arc::new(Mutex::new(String::new()));
        let started = spawn(command(&folder), &log, |_| {});
        let (child, url) = started.unwrap_or_else(|| panic!("{}", log.lock().unwrap()));
        Self { child, url, folder, log }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Everything that was logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn books(&self) -> Books {
        Books::open(self.folder.path().join("pontage.db"))
    }

    /// Kills the process as a power cut would, and starts it again on the same journal.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        let started = spawn(command(&self.folder), &self.log, |_| {});
        (self.child, self.url) = started.unwrap_or_else(|| panic!("{}", self.log()));
    }

    /// Kills it, and starts it so that it kills itself at a fault point.
    pub(crate) fn restart_to_die(&mut self, point: &str) {
        self.kill();
        let (child, url) = spawn_to_die(command(&self.folder), &self.log, point);
        self.child = child;
        self.url = url.unwrap_or_else(|| self.url.clone());
    }

    /// Waits until it has killed itself, and starts it again.
    pub(crate) fn died_and_restart(&mut self, point: &str) {
        died(&mut self.child, point);
        let started = spawn(command(&self.folder), &self.log, |_| {});
        (self.child, self.url) = started.unwrap_or_else(|| panic!("{}", self.log()));
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the facilitator is killed");
        self.child.wait().expect("the facilitator has ended");
    }

    /// Kills the process after a moment, while something else goes on, and starts it again.
    pub(crate) fn kill_after(&mut self, after: Duration) {
        std::thread::park_timeout(after);
        self.kill_and_restart();
    }

    /// The same, and it listens where it did: for those who go on asking.
    pub(crate) fn kill_and_restart_on_same_port(&mut self) {
        let path = self.folder.path().join("facilitator.yaml");
        let text = std::fs::read_to_string(&path).expect("the configuration is read");
        let address = self.url.trim_start_matches("http://");
        std::fs::write(path, text.replace("listen: 127.0.0.1:0", &format!("listen: {address}")))
            .expect("it is written");
        self.kill_and_restart();
    }

    /// Asks it to stop, as a service manager does, and waits for its end.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(asked.success());
        self.child.wait().expect("the facilitator ends")
    }

    /// `POST /verify`.
    pub(crate) fn verify(&self, body: &Value) -> Answer {
        post(&self.url, "/verify", body)
    }

    /// `POST /settle`.
    pub(crate) fn settle(&self, body: &Value) -> Answer {
        post(&self.url, "/settle", body)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(["facilitator", "--config"]).arg(folder.path().join("facilitator.yaml")).stdin(Stdio::null());
    command.envs([("PONTAGE_SIGNER_KEY", SETTLER.secret), ("PONTAGE_TEST_TOKEN", TOKEN)]);
    command
}

/// The same, where it may end before it answers.
pub(crate) fn try_post(url: &str, path: &str, body: &Value) -> Option<Answer> {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    try_request("POST", &format!("{url}{path}"), &headers, body.to_string().as_bytes()).ok()
}

/// Asks a facilitator, with the token.
pub(crate) fn post(url: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    request("POST", &format!("{url}{path}"), &headers, body.to_string().as_bytes())
}

/// What the resource server of these tests wants.
pub(crate) fn wanted() -> Offer {
    Offer {
        asset_info: AssetInfo::usdc(Network::BASE_SEPOLIA).expect("USDC is known there"),
        amount_atomic: PRICE,
        payee: PAYEE.parse().expect("an address"),
        max_timeout_s: 60,
        extra: OfferExtra::default(),
    }
}

/// A payment of these fields by a payer, with the requirements of [`wanted`], in the words of a version.
pub(crate) fn asked(payer: &Payer, version: Version, fields: &Fields) -> Value {
    let offer = wanted();
    let signature = payer.key.sign_now(fields.digest(&offer.asset_info)).expect("a signature");
    let payload = Credential::to_json(version, &offer, "http://localhost/paid", fields, &signature).expect("a payment");
    let mut requirements = json!({
        "scheme": "exact", "asset": offer.asset_info.asset.address.to_string(), "payTo": PAYEE,
        "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" },
    });
    let (number, network, amount) = match version {
        Version::V1 => (1, "base-sepolia", "maxAmountRequired"),
        Version::V2 => (2, "eip155:84532", "amount"),
    };
    requirements["network"] = network.into();
    requirements[amount] = PRICE.to_string().into();
    if version == Version::V1 {
        requirements["resource"] = "http://localhost/paid".into();
        requirements["description"] = "".into();
        requirements["mimeType"] = "text/plain".into();
    }
    json!({ "x402Version": number, "paymentPayload": payload, "paymentRequirements": requirements })
}

/// A fresh payment that is as it should be.
pub(crate) fn fresh(payer: &Payer) -> Value {
    asked(payer, Version::V2, &payer.fields(&wanted()))
}
