//! `pontage init`: the first configuration, from answers or from flags.

use std::fs::OpenOptions;
use std::io::{BufRead, ErrorKind, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::Args;
use protocol::{Payee, parse_decimal};
use serde_json::json;

use crate::cli::{self, url_mistake};
use crate::config::TEMPLATE;
use crate::say;

/// What the template says where nothing was answered. Each stands in it once.
const NOBODY: &str = "0x0000000000000000000000000000000000000000";
const TARGET: &str = "http://127.0.0.1:3000";
const ROUTE: &str = "/paid/*";
const PRICE: &str = "0.01";
const NETWORK: Chain = Chain { name: "base-sepolia", caip2: "eip155:84532" };
const NODE: &str = "http://127.0.0.1:8545";
const SIGNER: &str = "PONTAGE_SIGNER_KEY";

const CHAINS: [Chain; 2] = [NETWORK, Chain { name: "base", caip2: "eip155:8453" }];
/// USDC has so many decimal places on every network of [`CHAINS`].
const DECIMALS: u8 = 6;
/// A line of a terminal is no longer.
const LINE_MAX_BYTES: u64 = 4_096;

/// What `pontage init` is given. Every wrong value is refused before anything is written.
#[derive(Args)]
pub(crate) struct InitArgs {
    /// Where to. An existing file is never overwritten.
    #[arg(short, long, default_value = "pontage.yaml")]
    config: PathBuf,
    /// Who is paid: 0x and 40 hex digits. Its key is not needed.
    #[arg(long)]
    address: Option<String>,
    /// The API to charge for, such as http://127.0.0.1:3000.
    #[arg(long, value_parser = target)]
    target: Option<String>,
    /// Which paths cost something, such as /api/*.
    #[arg(long, value_parser = route)]
    path: Option<String>,
    /// Dollars for each call.
    #[arg(long, value_parser = price)]
    price: Option<String>,
    /// Where payments are taken: base (real money) or base-sepolia (test money).
    #[arg(long, value_parser = chain)]
    network: Option<Chain>,
    /// A node of that network.
    #[arg(long)]
    rpc_url: Option<String>,
    /// Settle with the key in this environment variable.
    #[arg(long, group = "settles")]
    signer_env: Option<String>,
    /// Settle with the key in this file.
    #[arg(long, group = "settles")]
    signer_file: Option<String>,
    /// Let this facilitator settle, in place of a key of yours.
    #[arg(long, group = "settles")]
    facilitator_url: Option<String>,
    /// Ask nothing: take defaults for what no flag says.
    #[arg(short, long)]
    yes: bool,
}

/// A network with a name for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chain {
    name: &'static str,
    caip2: &'static str,
}

/// Who sends payments to the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Settles {
    Env(String),
    File(String),
    Facilitator(String),
}

/// Everything that the file is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answers {
    /// `None` leaves the one mistake in the file that `pontage validate` names.
    address: Option<String>,
    target: String,
    path: String,
    price: String,
    network: Chain,
    rpc_url: String,
    settles: Settles,
}

/// Writes a configuration. Where nobody can answer, nobody is asked. An existing file stays as it is.
pub(crate) fn run(args: &InitArgs, json: bool) -> anyhow::Result<()> {
    args.check_places().unwrap_or_else(|wrong| cli::usage(wrong).exit());
    let path = &args.config;
    let exists = || anyhow!("{} exists already and is not overwritten", path.display());
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let answers = if !args.yes && !json && stdin.is_terminal() && stdout.is_terminal() {
        args.ask(&mut Questions { input: &mut stdin.lock(), output: &mut stdout.lock() })?
    } else {
        args.unasked()
    };
    // Who came first in the meantime is not overwritten either.
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(),
        _ => anyhow!("{} cannot be written: {error}", path.display()),
    })?;
    file.write_all(answers.file().as_bytes())?;
    let next = answers.next(path);
    if json {
        return say(&json!({ "wrote": path.display().to_string(), "next": next }).to_string());
    }
    say(&format!("Wrote {}.\nNext:\n  {}", path.display(), next.join("\n  ")))
}

impl InitArgs {
    /// What may be a secret or hold one is checked here: clap would repeat the wrong value.
    fn check_places(&self) -> Result<(), String> {
        let places: [(&str, &Option<String>, Check); 5] = [
            ("--address", &self.address, address),
            ("--rpc-url", &self.rpc_url, service),
            ("--signer-env", &self.signer_env, variable),
            ("--signer-file", &self.signer_file, file),
            ("--facilitator-url", &self.facilitator_url, service),
        ];
        for (flag, given, check) in places {
            if let Some(Err(why)) = given.as_deref().map(check) {
                return Err(format!("{flag}: {why}"));
            }
        }
        Ok(())
    }

    /// The flags, and defaults for the rest.
    fn unasked(&self) -> Answers {
        let or = |flag: &Option<String>, default: &str| flag.clone().unwrap_or_else(|| default.to_owned());
        Answers {
            address: self.address.clone(),
            target: or(&self.target, TARGET),
            path: or(&self.path, ROUTE),
            price: or(&self.price, PRICE),
            network: self.network.unwrap_or(NETWORK),
            rpc_url: or(&self.rpc_url, NODE),
            settles: self.settles().unwrap_or_else(|| Settles::Env(SIGNER.to_owned())),
        }
    }

    fn settles(&self) -> Option<Settles> {
        let signer = self.signer_env.clone().map(Settles::Env).or_else(|| self.signer_file.clone().map(Settles::File));
        signer.or_else(|| self.facilitator_url.clone().map(Settles::Facilitator))
    }

    /// The flags, and answers to the rest.
    fn ask(&self, questions: &mut Questions<'_>) -> anyhow::Result<Answers> {
        let mut text = |flag: &Option<String>, question, default, check: Check| match flag {
            Some(given) => Ok(given.clone()),
            None => questions.ask(question, default, check),
        };
        let address = Some(text(&self.address, "Who is paid (0x and 40 hex digits)", None, address)?);
        let target = text(&self.target, "The API to charge for", Some(TARGET), target)?;
        let path = text(&self.path, "Which paths cost something", Some(ROUTE), route)?;
        let price = text(&self.price, "Dollars for each call", Some(PRICE), price)?;
        let network = match self.network {
            Some(given) => given,
            None => questions.ask(
                "Where payments are taken: base-sepolia (test money) or base",
                Some(NETWORK.name),
                chain,
            )?,
        };
        let settles = match self.settles() {
            Some(given) => given,
            None => questions.settles()?,
        };
        let rpc_url = match (&self.rpc_url, &settles) {
            (Some(given), _) => given.clone(),
            (None, Settles::Facilitator(_)) => NODE.to_owned(),
            (None, Settles::Env(_) | Settles::File(_)) => {
                questions.ask(&format!("A node of {}", network.name), Some(NODE), service)?
            }
        };
        Ok(Answers { address, target, path, price, network, rpc_url, settles })
    }
}

/// Takes a text, or says what is wrong with it and what to write.
type Check = fn(&str) -> Result<String, String>;

/// Somebody who can be asked.
struct Questions<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
}

impl Questions<'_> {
    /// Asks until the answer can be taken. An empty one is the default.
    fn ask<T>(
        &mut self,
        question: &str,
        default: Option<&str>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        loop {
            let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
            write!(self.output, "{question}{shown}: ")?;
            self.output.flush()?;
            let mut line = String::new();
            let mut input: &mut dyn BufRead = self.input;
            if (&mut input).take(LINE_MAX_BYTES).read_line(&mut line)? == 0 {
                bail!("the answers ended before the questions; nothing was written");
            }
            let answer = match line.trim() {
                "" => default.unwrap_or_default(),
                answer => answer,
            };
            match check(answer) {
                Ok(taken) => return Ok(taken),
                Err(why) => writeln!(self.output, "  {why}")?,
            }
        }
    }

    fn settles(&mut self) -> anyhow::Result<Settles> {
        let question =
            "Who settles: env (a key in an environment variable), file (a key in a file) or the URL of a facilitator";
        enum Kind {
            Env,
            File,
            Url(String),
        }
        let kind = self.ask(question, Some("env"), |answer| match answer {
            "env" => Ok(Kind::Env),
            "file" => Ok(Kind::File),
            url if url.contains("://") => service(url).map(Kind::Url),
            // It may be the key itself, so it is not repeated.
            _ => Err("write env, file, or a URL such as https://facilitator.example".to_owned()),
        })?;
        Ok(match kind {
            Kind::Env => Settles::Env(self.ask("The variable that holds the key", Some(SIGNER), variable)?),
            Kind::File => Settles::File(self.ask("The file that holds the key", None, file)?),
            Kind::Url(url) => Settles::Facilitator(url),
        })
    }
}

impl Answers {
    /// The template with the answers in it.
    fn file(&self) -> String {
        let settles = match &self.settles {
            Settles::Env(name) => format!("signer: {{ env: {name} }}"),
            Settles::File(path) => format!("signer: {{ file: {} }}", quoted(path)),
            Settles::Facilitator(url) => format!("urls: [{}]", quoted(url)),
        };
        let slots = [
            (format!("\"{NOBODY}\""), quoted(self.address.as_deref().unwrap_or(NOBODY))),
            (format!("\"{TARGET}\""), quoted(&self.target)),
            (format!("path: {ROUTE}\n"), format!("path: {}\n", quoted(&self.path))),
            (format!("\"{PRICE}\""), quoted(&self.price)),
            (format!("\"{}\":", NETWORK.caip2), format!("\"{}\":", self.network.caip2)),
            (format!("\"{NODE}\""), quoted(&self.rpc_url)),
            (format!("signer: {{ env: {SIGNER} }}"), settles),
        ];
        slots.into_iter().fold(TEMPLATE.to_owned(), |file, (slot, answer)| file.replacen(&slot, &answer, 1))
    }

    /// What is left to do, in order.
    fn next(&self, path: &Path) -> Vec<String> {
        let path = path.display();
        let mut steps = Vec::new();
        if self.address.is_none() {
            steps.push("fill in provider_address: who is paid".to_owned());
        }
        match &self.settles {
            Settles::Env(name) => {
                steps.push(format!(
                    "export {name}=0x…   # the key of an account with a little gas on {}",
                    self.network.name
                ));
            }
            Settles::File(file) => {
                steps.push(format!("write the key of an account with a little gas on {} to {file}", self.network.name));
            }
            Settles::Facilitator(_) => {}
        }
        steps.push(format!("pontage validate -c {path}"));
        let start = if self.network == NETWORK { "dev" } else { "start" };
        steps.push(format!("pontage {start} -c {path}"));
        steps
    }
}

/// A YAML string that holds just this text: no variable is filled in.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace('$', "$$")).to_string()
}

fn address(text: &str) -> Result<String, String> {
    match text.parse::<Payee>() {
        Ok(payee) if payee.0.is_zero() => {
            Err("what is paid to the zero address is lost; write an address of yours".to_owned())
        }
        // As it was checked: with its checksum.
        Ok(payee) => Ok(payee.to_string()),
        Err(why) => Err(format!("this {why}; write it as the wallet shows it")),
    }
}

fn target(text: &str) -> Result<String, String> {
    let refused = |why| format!("{why}; write the origin of the API, such as {TARGET}");
    proxy::Target::parse(text).map(|_| text.to_owned()).map_err(refused)
}

fn route(text: &str) -> Result<String, String> {
    let refused = |why| format!("a path {why}; write one such as {ROUTE} (everything beneath)");
    gate::Pattern::parse(text).map(|_| text.to_owned()).map_err(refused)
}

fn price(text: &str) -> Result<String, String> {
    match parse_decimal(text, DECIMALS) {
        Ok(0) => Err("zero is not a price; write dollars such as 0.01".to_owned()),
        Ok(_) => Ok(text.strip_prefix('$').unwrap_or(text).to_owned()),
        Err(why) => Err(format!("the price {why}; write dollars such as 0.01")),
    }
}

fn chain(text: &str) -> Result<Chain, String> {
    let found = CHAINS.into_iter().find(|chain| text == chain.name || text == chain.caip2);
    found.ok_or_else(|| "write base-sepolia, or base for real money; others are written into the file".to_owned())
}

fn service(text: &str) -> Result<String, String> {
    match url_mistake(text) {
        None => Ok(text.to_owned()),
        Some(why) => Err(format!("{why}; write one such as https://host.example/base")),
    }
}

fn variable(text: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    // A key without its 0x may look like a name, and must not get into the file.
    match starts && text.chars().all(word) && text.len() <= 40 {
        true => Ok(text.to_owned()),
        false => Err(format!("write the name of a variable, such as {SIGNER}; never the key itself")),
    }
}

fn file(text: &str) -> Result<String, String> {
    let key = text.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() > 40);
    match text.is_empty() || key || text.chars().any(char::is_control) {
        true => Err("write the path of a file; never the key itself".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config;

    const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: InitArgs,
    }

    fn line(flags: &[&str]) -> Result<InitArgs, clap::Error> {
        Line::try_parse_from(std::iter::once("init").chain(flags.iter().copied())).map(|line| line.args)
    }

    fn asked(flags: &[&str], input: &str) -> (anyhow::Result<Answers>, String) {
        let mut output = Vec::new();
        let answers = line(flags).unwrap().ask(&mut Questions { input: &mut input.as_bytes(), output: &mut output });
        (answers, String::from_utf8(output).unwrap())
    }

    fn parsed(answers: &Answers) -> config::Config {
        let text = answers.file();
        config::parse(&text, "pontage.yaml", Path::new(""), &|_| None).unwrap_or_else(|error| panic!("{text}\n{error}"))
    }

    #[test]
    fn every_slot_is_in_the_template_once() {
        let caip2 = format!("\"{}\":", NETWORK.caip2);
        let route = format!("path: {ROUTE}\n");
        for slot in [NOBODY, &format!("\"{TARGET}\""), &route, &format!("\"{PRICE}\""), &caip2, NODE, SIGNER] {
            assert_eq!(TEMPLATE.matches(slot).count(), 1, "{slot}");
        }
        let untouched = line(&[]).unwrap().unasked();
        assert_eq!(untouched.file().replace("path: \"/paid/*\"", "path: /paid/*"), TEMPLATE);
    }

    #[test]
    fn flags_make_a_file_that_is_valid() {
        let flags = [
            "--address",
            PAYEE,
            "--target",
            "https://api.example:8443",
            "--path",
            "/v1/${x}/*",
            "--price",
            "$0.25",
            "--network",
            "base",
            "--rpc-url",
            "https://node.example/key",
            "--signer-file",
            "keys/my \"signer\"",
        ];
        let config = parsed(&line(&flags).unwrap().unasked());
        assert_eq!(config.payee.to_string(), PAYEE);
        assert_eq!(config.networks[0].network.to_string(), "eip155:8453");
        assert_eq!(config.networks[0].rpc_urls, ["https://node.example/key"]);
        let file = config::SecretSource::File("keys/my \"signer\"".into());
        assert_eq!(config.signers, [config::SignerSource::Key(file)]);
        let paths: Vec<_> = config.routes.iter().map(|route| route.path.to_string()).collect();
        assert_eq!(paths, ["/health", "/v1/${x}/*"]);
        assert_eq!(config.routes[0].price, config::PriceConfig::Free);
        assert!(matches!(&config.routes[1].price, config::PriceConfig::Due(_)));
    }

    #[test]
    fn answers_make_a_file_that_is_valid() {
        let (answers, said) = asked(&[], &format!("{PAYEE}\n\n\n\n\n\n\n\n"));
        let answers = answers.unwrap();
        assert_eq!(answers, Answers { address: Some(PAYEE.to_owned()), ..line(&[]).unwrap().unasked() });
        parsed(&answers);
        assert!(said.contains("[0.01]") && said.contains("[base-sepolia]"), "{said}");

        let (answers, _) = asked(&["--network", "base"], &format!("{PAYEE}\nhttp://a\n/a\n2\nfile\nkey\nhttp://n\n"));
        let answers = answers.unwrap();
        assert_eq!((answers.network.name, answers.rpc_url.as_str()), ("base", "http://n"));
        assert_eq!(answers.settles, Settles::File("key".to_owned()));
        parsed(&answers);

        let (answers, said) = asked(&["--address", PAYEE], "\n\n\n\nhttps://f.example/x\n");
        let answers = answers.unwrap();
        assert_eq!(answers.settles, Settles::Facilitator("https://f.example/x".to_owned()));
        assert!(!said.contains("A node"), "{said}");
        assert!(answers.file().contains("facilitator:\n  urls: [\"https://f.example/x\"]\n"), "{}", answers.file());
        parsed(&answers);
    }

    #[test]
    fn a_wrong_answer_is_asked_for_again_with_the_fix() {
        let key = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
        let bad = PAYEE.replace("0x2096", "0x2097").to_string();
        let input = format!(
            "\n{bad}\n{NOBODY}\n{PAYEE}\nftp://a\nhttp://a/base\nhttp://a\nnopath\n/a\n0\nfree\n0.0000001\n1\nsolana\nbase\n{key}\n\
             env\n{key}\nMY_KEY\nnonsense\nhttp://n\n"
        );
        let (answers, said) = asked(&[], &input);
        let answers = answers.unwrap();
        parsed(&answers);
        assert_eq!(answers.settles, Settles::Env("MY_KEY".to_owned()));
        assert_eq!(said.matches("\n").count(), 13, "{said}");
        assert!(said.contains("checksum") && !said.contains(key), "{said}");
        let (answers, _) = asked(&[], &format!("{PAYEE}\n"));
        assert!(answers.unwrap_err().to_string().contains("nothing was written"));
    }

    #[test]
    fn wrong_flags_are_refused_at_once() {
        for (flags, words) in [
            (["--address", "0x209693bC6afc0C5328bA36FaF03C514EF312287C"], "checksum"),
            (["--address", NOBODY], "zero address"),
            (["--address", "vitalik.eth"], "40 hex digits"),
            (["--target", "127.0.0.1:3000"], "such as http://127.0.0.1:3000"),
            (["--path", "api"], "such as /paid/*"),
            (["--price", "0"], "zero is not a price"),
            (["--network", "ethereum"], "write base-sepolia"),
            (["--facilitator-url", "x402.DECAF"], "write one such as"),
            (["--rpc-url", "http://me:DECAF@node"], "a name or password"),
            (["--signer-env", "0xDECAF"], "never the key itself"),
            (["--signer-file", ""], "write the path of a file"),
        ] {
            let parsed = line(&flags).map_err(|error| error.to_string());
            let said = parsed.and_then(|args| args.check_places()).expect_err(flags[0]);
            assert!(said.contains(words) && !said.contains("DECAF"), "{said}");
        }
        assert!(line(&["--signer-env", "A", "--facilitator-url", "http://a"]).is_err());
    }
}
