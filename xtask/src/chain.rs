//! A local EVM chain for tests, anvil or our own devnet, with a USDC planted where Base Sepolia has its own.
//!
//! The reference SDKs know chain 84532 and its USDC by heart, so they pay on this chain without being told of any
//! custom network. Contract calls are written as selectors and 32-byte words; nothing here shares code with what it
//! tests.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::peers;

/// USDC of Base Sepolia.
pub const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";

/// Multicall3, where every chain that has it has it.
pub const MULTICALL3: &str = "0xcA11bde05977b3631167028862bE2a173976CA11";

/// A key that everyone has. The chain gives each of them 10 000 native coins at start.
#[derive(Debug, Clone, Copy)]
pub struct TestKey {
    pub address: &'static str,
    pub secret: &'static str,
}

/// The first ten keys of the public mnemonic "test test test test test test test test test test test junk".
pub const KEYS: [TestKey; 10] = [
    TestKey {
        address: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        secret: "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    },
    TestKey {
        address: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        secret: "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    },
    TestKey {
        address: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        secret: "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    },
    TestKey {
        address: "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        secret: "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    },
    TestKey {
        address: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
        secret: "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    },
    TestKey {
        address: "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
        secret: "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    },
    TestKey {
        address: "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
        secret: "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    },
    TestKey {
        address: "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
        secret: "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    },
    TestKey {
        address: "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
        secret: "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    },
    TestKey {
        address: "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
        secret: "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
    },
];

/// Mints and configures the tokens. It is none of `KEYS`, whose sequences belong to the tests.
const TOKEN_ADMIN: &str = "0x70cea0000000000000000000000000000000ad01";

const TRANSFER_TOPIC: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
const MINT: &str = "40c10f19";
const BALANCE_OF: &str = "70a08231";
const AUTHORIZATION_STATE: &str = "e94a0102";
const INITIALIZE: &str = "3357162b";
const INITIALIZE_V2: &str = "d608ea64";
const INITIALIZE_V2_1: &str = "2fc81e09";
const CONFIGURE_MINTER: &str = "4e44d956";

const START_LIMIT: Duration = Duration::from_secs(30);
const RPC_LIMIT: Duration = Duration::from_secs(30);

/// How a chain starts. The default is Base Sepolia's id with each transaction mined at once.
#[derive(Debug, Clone)]
pub struct ChainOptions {
    pub chain_id: u64,
    /// A block every so many seconds; `None` mines each transaction at once.
    pub block_time_s: Option<u64>,
    /// False mines nothing until `mine` or `set_automine` says so; `block_time_s` is then ignored.
    pub mining: bool,
    /// A pontage binary, whose own chain (`pontage devnet`) is started in the place of anvil. It has no mempool to play with.
    pub devnet: Option<PathBuf>,
}

impl Default for ChainOptions {
    fn default() -> Self {
        Self { chain_id: 84532, block_time_s: None, mining: true, devnet: None }
    }
}

/// One `Transfer` of USDC. Addresses and hashes are lower-case, as the node gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferLog {
    pub from: String,
    pub to: String,
    pub value: u128,
    pub chain_tx: String,
    pub block: u64,
}

/// A running chain of its own, on loopback and a free port. It ends when this value is dropped.
pub struct Chain {
    child: Child,
    rpc_url: String,
    http: ureq::Agent,
    root: PathBuf,
}

impl Drop for Chain {
    fn drop(&mut self) {
        // Both fail only when it has ended already, which is what we want.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Chain {
    /// Starts anvil from `peers/js`, installing the packages there when they are missing, or a devnet, and waits for its port.
    pub fn start(root: &Path, options: &ChainOptions) -> Result<Self> {
        let chain_id = options.chain_id.to_string();
        let program = options.devnet.clone().map_or_else(|| program(root), Ok)?;
        let mut command = Command::new(&program);
        if options.devnet.is_some() {
            command.args(["devnet", "--bare", "--listen", "127.0.0.1:0", "--chain-id", &chain_id]);
        } else {
            command.args(["--host", "127.0.0.1", "--port", "0", "--chain-id", &chain_id]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command
            .spawn()
            .with_context(|| format!("`{}` could not be started; is it built for this system?", program.display()))?;

        let output = child.stdout.take().context("anvil was started with a pipe")?;
        let (said, heard) = mpsc::channel();
        // Reads until anvil ends: a full pipe would stop it in the middle of a test.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(address) = line.trim().strip_prefix("Listening on ") {
                    // Nobody listens any more when the start was given up.
                    drop(said.send(address.to_owned()));
                }
            }
        });

        let http = ureq::Agent::new_with_config(
            ureq::Agent::config_builder()
                .timeout_global(Some(RPC_LIMIT))
                // A proxy named in the environment must not see calls meant for loopback.
                .proxy(None)
                .build(),
        );
        // From here on the child is killed on every way out.
        let mut chain = Self { child, rpc_url: String::new(), http, root: root.to_owned() };
        let address = heard.recv_timeout(START_LIMIT).context("anvil named no port; its own complaint is above")?;
        chain.rpc_url = format!("http://{address}");
        match (options.mining, options.block_time_s) {
            (false, _) => chain.set_automine(false)?,
            (true, Some(seconds)) => {
                chain.set_automine(false)?;
                chain.set_interval(seconds)?;
            }
            (true, None) => {}
        }
        Ok(chain)
    }

    pub fn rpc_url(&self) -> &str {
        &self.rpc_url
    }

    /// Makes the node silent, as one that hangs, until `thaw`: connections stay, and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        self.signal("-STOP")
    }

    pub fn thaw(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().context("kill")?;
        ensure!(sent.success(), "kill {signal}: {sent}");
        Ok(())
    }

    /// One JSON-RPC call. The node's refusal is an error with its text, a revert reason for instance.
    pub fn rpc(&self, method: &str, params: Value) -> Result<Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer: Value = self
            .http
            .post(&self.rpc_url)
            .send_json(&request)
            .and_then(|mut answer| answer.body_mut().read_json())
            .with_context(|| format!("{method} got no answer from anvil"))?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer["result"].take())
    }

    /// Plants `contracts/TestUsdc.json`, our stand-in, at `USDC`. It knows ERC-1271 and lets everyone mint and block.
    pub fn plant_token(&self) -> Result<()> {
        let artifact = read_json(&self.root.join("contracts/TestUsdc.json"))?;
        self.plant(USDC, text(&artifact["deployedBytecode"])?)
    }

    /// Plants Multicall3 at its address, as every public chain has it.
    pub fn plant_multicall(&self) -> Result<()> {
        let artifact = read_json(&self.root.join("contracts/Multicall3.json"))?;
        self.plant(MULTICALL3, text(&artifact["deployedBytecode"])?)
    }

    /// Plants Circle's own FiatToken V2_1 at `USDC`, from the file that `peers::fiat_token` returns.
    ///
    /// It needs storage that nobody wrote, so not after `plant_token` on the same chain. It has no ERC-1271 overload.
    pub fn plant_fiat_token(&self, artifact: &Path) -> Result<()> {
        let artifact = read_json(artifact)?;
        self.plant(USDC, text(&artifact["runtime"])?)?;

        let admin = address_word(TOKEN_ADMIN)?;
        // Three strings follow eight head words, so the first begins at 8 * 32; each takes two words.
        let heads = [0x100, 0x140, 0x180, 6].map(number_word).concat();
        let strings = ["USD Coin", "USDC", "USD"].map(string_words).concat();
        self.act(&format!("0x{INITIALIZE}{heads}{}{strings}", admin.repeat(4)))?;
        self.act(&format!("0x{INITIALIZE_V2}{}{}", number_word(0x20), string_words("USDC")))?;
        // It moves whatever the contract itself holds, nothing here, to this address.
        self.act(&format!("0x{INITIALIZE_V2_1}{admin}"))?;
        self.act(&format!("0x{CONFIGURE_MINTER}{admin}{}", number_word(u128::MAX)))
    }

    /// Plants runtime code at an address. No constructor runs.
    pub fn plant(&self, at: &str, runtime: &str) -> Result<()> {
        self.rpc("anvil_setCode", json!([at, runtime]))?;
        Ok(())
    }

    /// Makes `amount` atomic units of the planted token, either one, for `to`. Mines a block when nothing else does.
    pub fn mint(&self, to: &str, amount: u128) -> Result<()> {
        self.act(&format!("0x{MINT}{}{}", address_word(to)?, number_word(amount)))
    }

    /// Atomic units of the planted token.
    pub fn balance(&self, of: &str) -> Result<u128> {
        let word = self.call(USDC, &format!("0x{BALANCE_OF}{}", address_word(of)?))?;
        number(&word).with_context(|| format!("no balance of {of}; is a token planted?"))
    }

    /// Wei.
    pub fn native_balance(&self, of: &str) -> Result<u128> {
        number(text(&self.rpc("eth_getBalance", json!([of, "latest"]))?)?)
    }

    pub fn set_native_balance(&self, of: &str, wei: u128) -> Result<()> {
        self.rpc("anvil_setBalance", json!([of, format!("{wei:#x}")]))?;
        Ok(())
    }

    /// True when the authorization was used or cancelled.
    pub fn authorization_state(&self, authorizer: &str, nonce: &str) -> Result<bool> {
        let nonce = bare(nonce);
        ensure!(nonce.len() == 64, "a nonce is 32 bytes, not `{nonce}`");
        let data = format!("0x{AUTHORIZATION_STATE}{}{nonce}", address_word(authorizer)?);
        Ok(number(&self.call(USDC, &data)?)? == 1)
    }

    /// Every mined `Transfer` of the token to `payee`, oldest first. Mints are transfers from the zero address.
    pub fn transfers_to(&self, payee: &str) -> Result<Vec<TransferLog>> {
        let topics = json!([TRANSFER_TOPIC, null, format!("0x{}", address_word(payee)?)]);
        let filter = json!([{"address": USDC, "fromBlock": "0x0", "toBlock": "latest", "topics": topics}]);
        let logs = self.rpc("eth_getLogs", filter)?;
        logs.as_array().context("eth_getLogs answers a list")?.iter().map(transfer_log).collect()
    }

    /// Mines one block of whatever waits.
    pub fn mine(&self) -> Result<()> {
        self.rpc("evm_mine", json!([]))?;
        Ok(())
    }

    /// On: each transaction is mined at once, those that wait too. Off: none is, until `mine`. Turning it off does not
    /// stop an interval; `set_interval(0)` does.
    pub fn set_automine(&self, on: bool) -> Result<()> {
        self.rpc("evm_setAutomine", json!([on]))?;
        Ok(())
    }

    /// A block every `seconds` and none between; 0 means none at all until `mine` or `set_automine(true)`.
    pub fn set_interval(&self, seconds: u64) -> Result<()> {
        self.rpc("evm_setIntervalMining", json!([seconds]))?;
        Ok(())
    }

    /// Moves the chain's clock on for the blocks to come. It mines nothing: the latest block keeps its time.
    pub fn increase_time(&self, seconds: u64) -> Result<()> {
        self.rpc("evm_increaseTime", json!([seconds]))?;
        Ok(())
    }

    /// Sends a transaction as anyone, with no key: a contract too. One that reverts is mined all the same, see
    /// `succeeded`. A sender without native coins gets some first.
    ///
    /// When each transaction is mined at once, its block is there on return. Otherwise this waits for no block.
    pub fn send_as(&self, from: &str, to: &str, data: &str) -> Result<String> {
        if self.native_balance(from)? == 0 {
            self.set_native_balance(from, 1_000_000_000_000_000_000)?;
        }
        self.rpc("anvil_impersonateAccount", json!([from]))?;
        // Without a limit anvil takes the whole block's, and a block holds one transaction.
        let request = json!({"from": from, "to": to, "data": data, "gas": "0xf4240"});
        let chain_tx = self.rpc("eth_sendTransaction", json!([request]))?;
        let chain_tx = text(&chain_tx)?.to_owned();
        if self.rpc("anvil_getAutomine", json!([]))? == true {
            // Anvil answers before it mines, by a millisecond or so.
            let start = Instant::now();
            while self.succeeded(&chain_tx)?.is_none() {
                ensure!(start.elapsed() < RPC_LIMIT, "anvil did not mine {chain_tx}");
            }
        }
        Ok(chain_tx)
    }

    /// Whether a transaction did what it was sent for; `None` while no block has it.
    pub fn succeeded(&self, chain_tx: &str) -> Result<Option<bool>> {
        let receipt = self.rpc("eth_getTransactionReceipt", json!([chain_tx]))?;
        Ok(if receipt.is_null() { None } else { Some(receipt["status"] == "0x1") })
    }

    /// A call at the latest block that changes nothing; the answer as 0x hex. A revert is an error with its reason.
    pub fn call(&self, to: &str, data: &str) -> Result<String> {
        let answer = self.rpc("eth_call", json!([{"to": to, "data": data}, "latest"]))?;
        Ok(text(&answer)?.to_owned())
    }

    /// A token call by `TOKEN_ADMIN`, mined and successful.
    fn act(&self, data: &str) -> Result<()> {
        let chain_tx = self.send_as(TOKEN_ADMIN, USDC, data)?;
        if self.succeeded(&chain_tx)?.is_none() {
            self.mine()?;
        }
        ensure!(self.succeeded(&chain_tx)? == Some(true), "a token call failed: {data} in {chain_tx}");
        Ok(())
    }
}

/// The binary that npm brought, or one on the PATH where npm has none for this system.
fn program(root: &Path) -> Result<PathBuf> {
    let scope = peers::npm(root)?.join("node_modules/@foundry-rs");
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let name = "anvil";
    let brought = scope.join(format!("anvil-{system}-{machine}")).join("bin").join(name);
    if brought.exists() {
        return Ok(brought);
    }
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .map(|dir| dir.join(name))
        .find(|found| found.exists())
        .context("npm has no anvil for this system; install Foundry's `anvil` 1.7 and put it on the PATH")
}

fn transfer_log(log: &Value) -> Result<TransferLog> {
    let address = |topic: &Value| -> Result<String> {
        let word = bare(text(topic)?);
        Ok(format!("0x{}", word.get(24..).context("a topic is 32 bytes")?))
    };
    Ok(TransferLog {
        from: address(&log["topics"][1])?,
        to: address(&log["topics"][2])?,
        value: number(text(&log["data"])?)?,
        chain_tx: text(&log["transactionHash"])?.to_owned(),
        block: number(text(&log["blockNumber"])?)?.try_into().context("a block number is 64 bits")?,
    })
}

fn read_json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("{} could not be read", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("expected a string, found {value}"))
}

fn bare(hex: &str) -> &str {
    hex.strip_prefix("0x").unwrap_or(hex)
}

/// A hex number of any length whose value fits 128 bits. "0x", the answer of an address without code, is an error.
fn number(hex: &str) -> Result<u128> {
    let digits = bare(hex);
    ensure!(!digits.is_empty(), "the answer is empty: no contract there");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    u128::from_str_radix(significant, 16).with_context(|| format!("{hex} is no number of 128 bits"))
}

fn number_word(value: u128) -> String {
    format!("{value:064x}")
}

fn address_word(address: &str) -> Result<String> {
    let digits = bare(address);
    ensure!(digits.len() == 40 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "`{address}` is no address");
    Ok(format!("{:0>64}", digits.to_ascii_lowercase()))
}

/// Length and content of a string of at most 32 bytes.
fn string_words(value: &str) -> String {
    let content: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{:064x}{content:0<64}", value.len())
}

#[cfg(test)]
mod tests;
