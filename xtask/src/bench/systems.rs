//! The systems that are measured, with their configurations, and what they need around them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xtask::chain::{Chain, ChainOptions, KEYS};

use super::books::PASS;
use super::load::{Load, SCRIPT};
use super::process::{self, Server, command, free_port};
use super::rows::{Row, Sends, System};
use super::set_up::Tools;

pub(super) const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
/// Who pays in `pontage paid`: several, so that one payer's sums are not the whole load.
const PAYERS: u64 = 8;
const FUNDS_ATOMIC: u128 = 1_000_000_000_000;
/// More than one core can take in a window and the load tool's first moments.
const PAYMENTS_PER_WINDOW: u64 = 50_000;
const SETTLED_LIMIT: Duration = Duration::from_secs(30);
/// About what a challenge with one offer has.
const CHALLENGE_BYTES: usize = 760;

pub(super) struct World {
    pub(super) tools: Tools,
    systems: Vec<(System, Server)>,
    /// The upstream and the stub facilitator.
    origin: Server,
    facilitator_port: u16,
    chain: Option<Chain>,
    /// The gate's own 402, whose offer the payments are signed for.
    challenge: String,
    /// The secrets of keys, by their gate.
    secrets: Vec<(System, String)>,
    /// This process and all that it started, while nothing new starts.
    family: Vec<u32>,
}

impl World {
    pub(super) fn start(root: &Path, tools: Tools, rows: &[&Row]) -> Result<Self> {
        let same = SCRIPT.to_owned();
        fs::write(tools.folder.join("each.lua"), same.replace("function each()", "function request()"))?;
        fs::write(tools.folder.join("same.lua"), same)?;
        let facilitator_port = free_port()?;
        let origin = origin(&tools, facilitator_port, "origin", false)?;
        let has = |system| rows.iter().any(|row| row.system == system);
        let is_paid = rows.iter().any(|row| row.sends != Sends::Plain);
        let ours = has(System::Pontage)
            || has(System::Holder)
            || has(System::Full)
            || has(System::Sidecar)
            || has(System::Facilitator)
            || is_paid;
        let chain = ours.then(|| chain(root, &tools)).transpose()?;
        let mut world = Self {
            tools,
            systems: Vec::new(),
            origin,
            facilitator_port,
            chain,
            challenge: String::new(),
            secrets: Vec::new(),
            family: Vec::new(),
        };
        if ours {
            let gate = world.pontage("gate", &[])?;
            world.challenge = challenge(&gate.address())?;
            world.make_known(&gate, "")?;
            world.systems.push((System::Pontage, gate));
        }
        let others =
            [System::Direct, System::Nginx, System::Caddy, System::Sidecar, System::Facilitator, System::PayGate];
        for system in others.into_iter().chain([System::PayGateMock, System::Express]).filter(|system| has(*system)) {
            let server = world.system(system).with_context(|| format!("{system:?}"))?;
            if system == System::Sidecar {
                world.make_known(&server, "/__pay/check")?;
            }
            if system == System::Facilitator {
                world.make_known_there(&server)?;
            }
            world.systems.push((system, server));
        }
        for (system, name) in [(System::Holder, "holder"), (System::Full, "full")] {
            if has(system) {
                let (server, secret) = world.holder(name, system == System::Full)?;
                world.systems.push((system, server));
                world.secrets.push((system, secret));
            }
        }
        // What is served on the tab would be settled in batches at once, by the same process: with a silent node it waits, and what
        // is measured is the gate's work.
        if let Some(chain) = &world.chain {
            chain.freeze()?;
        }
        world.family = process::family(std::process::id())?;
        Ok(world)
    }

    /// Ends all systems and lets the chain answer again, for gates that are started afterwards.
    pub(super) fn end_systems(&mut self) -> Result<()> {
        self.systems.clear();
        self.chain.as_ref().map_or(Ok(()), Chain::thaw)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.tools.folder
    }

    pub(super) fn has_gate(&self) -> bool {
        self.server(System::Pontage).is_ok()
    }

    pub(super) fn server(&self, system: System) -> Result<&Server> {
        let found = self.systems.iter().find(|(one, _)| *one == system);
        found.map(|(_, server)| server).with_context(|| format!("{system:?} was not started"))
    }

    pub(super) fn rss_mb(&self, row: &Row) -> Result<f64> {
        self.server(row.system)?.rss_mb()
    }

    /// What all that belongs to the run has used, the load tool with it.
    pub(super) fn own_cpu_s(&self) -> Result<f64> {
        self.family.iter().map(|pid| process::cpu_with_ended_s(*pid)).sum()
    }

    /// Makes ready what a row sends.
    pub(super) fn load(&self, row: &Row) -> Result<Load> {
        let file = self.folder().join("payments");
        let path = file.to_string_lossy().into_owned();
        match row.sends {
            Sends::Plain => return Ok(Load::Plain),
            Sends::Pass => return Ok(Load::Named("X-Payment-Pass", PASS.to_owned())),
            Sends::Key => {
                let found = self.secrets.iter().find(|(system, _)| *system == row.system);
                let (_, secret) = found.context("no key was made")?;
                return Ok(Load::Named("X-API-Key", secret.clone()));
            }
            Sends::Bodies => return Ok(Load::Bodies(self.bodies(PAYMENTS_PER_WINDOW)?)),
            Sends::BadPayments => self.sign(&["refused", &self.challenge, &path])?,
            Sends::OnePayment if row.system == System::Express => {
                // It takes what repeats its own offer, to the letter.
                let url = format!("http://{}{}", self.server(row.system)?.address(), row.path);
                let challenge = get(&url, None)?.1.context("@x402/express asks for nothing")?;
                self.sign(&["sign", &challenge, "1", "1", &path])?
            }
            Sends::OnePayment => self.sign(&["sign", &self.challenge, "1", "1", &path])?,
            Sends::FreshPayments => {
                let (count, payers) = (PAYMENTS_PER_WINDOW.to_string(), PAYERS.to_string());
                self.sign(&["sign", &self.challenge, &count, &payers, &path])?
            }
        };
        Ok(match row.sends {
            Sends::OnePayment => Load::Header(fs::read_to_string(&file)?.trim().to_owned()),
            _ => Load::Lines(file),
        })
    }

    /// Nanoseconds that one signature recovery takes on the core of the system under test.
    pub(super) fn recovery_ns(&self) -> Result<f64> {
        let output = command(&self.tools.signer, true).args(["recovery", "40000"]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
    }

    fn sign(&self, args: &[&str]) -> Result<String> {
        signer(&self.tools, args)
    }

    fn system(&self, system: System) -> Result<Server> {
        match system {
            System::Direct => origin(&self.tools, free_port()?, "direct", true),
            System::Nginx => self.nginx(),
            System::Caddy => self.caddy(),
            System::Pontage => self.pontage("gate", &[]),
            System::Holder => Ok(self.holder("holder", false)?.0),
            System::Full => Ok(self.holder("full", true)?.0),
            System::Facilitator => {
                let rpc_url = self.chain.as_ref().context("no chain was started")?.rpc_url();
                Ok(self.facilitator("facilitator", rpc_url)?.0)
            }
            System::Sidecar => self.pontage("sidecar", &["--sidecar"]),
            System::PayGate => self.pay_gate("dev"),
            System::PayGateMock => self.pay_gate("mock"),
            System::Express => self.express(),
        }
    }

    /// A gate with a journal of its own in the folder `name`.
    pub(super) fn pontage(&self, name: &str, more: &[&str]) -> Result<Server> {
        let command = self.pontage_command(name, more)?;
        Server::that_says(command, &self.folder().join(name).join("log"))
    }

    pub(super) fn pontage_command(&self, name: &str, more: &[&str]) -> Result<Command> {
        let folder = self.folder().join(name);
        fs::create_dir_all(&folder)?;
        let file = folder.join("pontage.yaml");
        let rpc_url = self.chain.as_ref().context("no chain was started")?.rpc_url();
        let config = format!(
            "version: 1\nlisten: 127.0.0.1:0\nprovider_address: \"{PAYEE}\"\ndefault_action: passthrough\n\
             proxy: {{ target: \"http://{}\" }}\n\
             routes:\n  - {{ path: /free/*, free: true }}\n  - {{ path: /paid/*, price: \"0.0001\", settlement: tab }}\n\
             \x20 - {{ path: /direct/*, price: \"0.0001\", settlement: direct }}\n\
             networks:\n  eip155:84532: {{ rpc_urls: [\"{rpc_url}\"] }}\n\
             facilitator: {{ signer: {{ env: PONTAGE_SIGNER_KEY }} }}\n\
             tab: {{ settle_age_s: 2700, verify: local }}\n\
             exposure: {{ per_payer: 1000000000, per_source: 1000000000, per_gate: 1000000000 }}\n",
            self.origin.address()
        );
        // Limits that nobody reaches, where this version has them: the load tool is one address.
        let unlimited = format!("{config}rate_limits: {{ per_agent: 1000000/s, verification: 1000000/s }}\n");
        fs::write(&file, &unlimited)?;
        let checked = Command::new(&self.tools.pontage).args(["validate", "--config"]).arg(&file).output()?;
        if !checked.status.success() {
            fs::write(&file, config)?;
        }
        let mut command = command(&self.tools.pontage, true);
        command.args(["start", "--config"]).arg(&file).args(more);
        command.env("PONTAGE_SIGNER_KEY", KEYS[1].secret).env("PONTAGE_LOG", "warn");
        Ok(command)
    }

    /// Has every payer pay once and waits until it is settled: from then on the gate checks his payments without the chain.
    /// `check` is what a sidecar is asked with.
    fn make_known(&self, gate: &Server, check: &str) -> Result<()> {
        let file = self.folder().join("first");
        let path = file.to_string_lossy().into_owned();
        let direct = get(&format!("http://{}{check}/direct/1", gate.address()), None)?;
        let challenge = direct.1.context("the gate asks for nothing on /direct/1")?;
        let payers = PAYERS.to_string();
        self.sign(&["sign", &challenge, &payers, &payers, &path])?;
        for payment in fs::read_to_string(&file)?.lines() {
            let begun = Instant::now();
            loop {
                let (status, _) = get(&format!("http://{}{check}/direct/1", gate.address()), Some(payment))?;
                if status == 200 {
                    break;
                }
                ensure!(begun.elapsed() < SETTLED_LIMIT, "a first payment was answered {status}");
                thread::park_timeout(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    /// A facilitator with a journal of its own in the folder `name`, and its configuration.
    pub(super) fn facilitator(&self, name: &str, rpc_url: &str) -> Result<(Server, PathBuf)> {
        let folder = self.folder().join(name);
        fs::create_dir_all(&folder)?;
        let file = folder.join("facilitator.yaml");
        let config = format!(
            "version: 1\nlisten: 127.0.0.1:0\nnetworks:\n  eip155:84532: {{ rpc_urls: [\"{rpc_url}\"] }}\n\
             facilitator: {{ signer: {{ env: PONTAGE_SIGNER_KEY }} }}\n\
             service: {{ open: true, rate_limit: off, verify: local, discovery: false }}\n"
        );
        fs::write(&file, config)?;
        let mut command = command(&self.tools.pontage, true);
        command.args(["facilitator", "--config"]).arg(&file);
        command.env("PONTAGE_SIGNER_KEY", KEYS[1].secret).env("PONTAGE_LOG", "warn");
        Ok((Server::that_says(command, &folder.join("log"))?, file))
    }

    /// So many bodies for a facilitator, none of which was seen before.
    pub(super) fn bodies(&self, count: u64) -> Result<PathBuf> {
        let file = self.folder().join("bodies");
        let (count, payers) = (count.to_string(), PAYERS.to_string());
        self.sign(&["bodies", &self.challenge, &count, &payers, &file.to_string_lossy()])?;
        Ok(file)
    }

    /// Has one payment of every payer settled: from then on his payments are verified without the chain.
    fn make_known_there(&self, facilitator: &Server) -> Result<()> {
        for body in fs::read_to_string(self.bodies(PAYERS)?)?.lines() {
            let mut answer = ureq::post(format!("http://{}/settle", facilitator.address()))
                .header("content-type", "application/json")
                .send(body)?;
            let said: serde_json::Value = answer.body_mut().read_json()?;
            ensure!(said["success"] == true, "a first payment was answered {said}");
        }
        Ok(())
    }

    fn nginx(&self) -> Result<Server> {
        let port = free_port()?;
        let challenge = "x".repeat(CHALLENGE_BYTES);
        let servers = format!(
            "upstream origin {{ server {}; keepalive 128; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{port};\n\
             location = /402 {{ add_header PAYMENT-REQUIRED \"{challenge}\" always; return 402 \"{{}}\"; }}\n\
             location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}\n",
            self.origin.address()
        );
        nginx(&self.tools, "nginx", &servers, port, true)
    }

    fn caddy(&self) -> Result<Server> {
        let (port, folder) = (free_port()?, self.folder().join("caddy"));
        fs::create_dir_all(&folder)?;
        let file = folder.join("Caddyfile");
        let config = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n\treverse_proxy {}\n}}\n",
            self.origin.address()
        );
        fs::write(&file, config)?;
        let mut caddy = command(Path::new("caddy"), true);
        caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
        caddy.env("XDG_DATA_HOME", &folder).env("XDG_CONFIG_HOME", &folder);
        Server::on_port(caddy, port, &folder.join("log"))
    }

    fn pay_gate(&self, mode: &str) -> Result<Server> {
        let (port, folder) = (free_port()?, self.folder().join(format!("pay-gate-{mode}")));
        fs::create_dir_all(&folder)?;
        let file = folder.join("pay-gate.yaml");
        let config = format!(
            "version: 1\nprovider_address: \"{PAYEE}\"\nproxy: {{ target: \"http://{}\", timeout: 30s }}\n\
             routes:\n  - {{ path: \"/free/*\", free: true }}\n  - {{ path: \"/paid/*\", price: \"0.0001\", settlement: tab }}\n\
             default_action: block\nrate_limits: {{ per_agent: \"1000000000/s\", verification: \"1000000000/s\" }}\n",
            self.origin.address()
        );
        fs::write(&file, config)?;
        let facilitator = format!("http://127.0.0.1:{}", self.facilitator_port);
        let mut gate = command(&self.tools.pay_gate, true);
        gate.args([mode, "--port", &port.to_string(), "--facilitator-url", &facilitator, "--config"]).arg(&file);
        gate.env("RUST_LOG", "warn").current_dir(&folder);
        Server::on_port(gate, port, &folder.join("log"))
    }

    fn express(&self) -> Result<Server> {
        let facilitator = format!("http://127.0.0.1:{}", self.facilitator_port);
        let mut node = command(Path::new("node"), true);
        node.arg("server.mjs").arg(facilitator).current_dir(&self.tools.express).env("NODE_ENV", "production");
        Server::that_says(node, &self.folder().join("express.log"))
    }
}

/// A fast upstream with 1 KB answers and a facilitator that says yes to everything.
fn origin(tools: &Tools, facilitator_port: u16, name: &str, tested: bool) -> Result<Server> {
    let (port, body, hash) = (free_port()?, "x".repeat(1_024), "0".repeat(64));
    let payer = r#""payer":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C""#;
    let kinds =
        r#"{"kinds":[{"x402Version":2,"scheme":"exact","network":"eip155:84532"}],"extensions":[],"signers":{}}"#;
    let servers = format!(
        "server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"{body}\"; }} }}\n\
         server {{ listen 127.0.0.1:{facilitator_port}; default_type application/json;\n\
         location /verify {{ return 200 '{{\"isValid\":true,{payer}}}'; }}\n\
         location /settle {{ return 200 '{{\"success\":true,\"transaction\":\"0x{hash}\",\"network\":\"eip155:84532\",{payer}}}'; }}\n\
         location / {{ return 200 '{kinds}'; }} }}\n"
    );
    nginx(tools, name, &servers, port, tested)
}

/// nginx with one worker, no log of calls, and connections that stay.
fn nginx(tools: &Tools, name: &str, servers: &str, port: u16, tested: bool) -> Result<Server> {
    let folder = tools.folder.join(name);
    fs::create_dir_all(&folder)?;
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
        .collect();
    let user = if is_root() { "user root;\n" } else { "" };
    let config = format!(
        "{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; tcp_nodelay on;\n{temp}{servers}}}\n",
        folder = folder.display()
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut nginx = command(Path::new("nginx"), tested);
    nginx.arg("-p").arg(&folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(&file);
    Server::on_port(nginx, port, &folder.join("log"))
}

/// nginx would give its workers to a user who may not look into the build folder.
fn is_root() -> bool {
    let user = Command::new("id").arg("-u").output();
    user.is_ok_and(|user| String::from_utf8_lossy(&user.stdout).trim() == "0")
}

/// The chain of the binary under test, with a token, and payers with funds.
fn chain(root: &Path, tools: &Tools) -> Result<Chain> {
    let chain = Chain::start(root, &ChainOptions { devnet: Some(tools.pontage.clone()), ..ChainOptions::default() })?;
    chain.plant_token()?;
    chain.plant_multicall()?;
    fund(&chain, tools)?;
    Ok(chain)
}

/// Gives every payer something to pay with.
pub(super) fn fund(chain: &Chain, tools: &Tools) -> Result<()> {
    for payer in signer(tools, &["payers", &PAYERS.to_string()])?.lines() {
        chain.mint(payer, FUNDS_ATOMIC)?;
    }
    Ok(())
}

fn signer(tools: &Tools, args: &[&str]) -> Result<String> {
    let output = command(&tools.signer, false).args(args).output().context("the signer")?;
    ensure!(output.status.success(), "the signer: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn challenge(address: &str) -> Result<String> {
    let (status, challenge) = get(&format!("http://{address}/paid/1"), None)?;
    challenge.with_context(|| format!("/paid/1 is answered {status}, with no challenge"))
}

/// The status of an answer, and its challenge.
pub(super) fn get(url: &str, payment: Option<&str>) -> Result<(u16, Option<String>)> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    let agent: ureq::Agent = config.timeout_global(Some(SETTLED_LIMIT)).max_idle_connections(0).build().into();
    let mut request = agent.get(url);
    if let Some(payment) = payment {
        request = request.header("payment-signature", payment);
    }
    let answer = request.call()?;
    let challenge = answer.headers().get("payment-required").and_then(|value| value.to_str().ok());
    Ok((answer.status().as_u16(), challenge.map(str::to_owned)))
}
