//! `.env` files beside the configuration and above it.

use std::path::Path;

use protocol::Network;

use super::tests::{HEAD, KEY};
use super::*;

const FILE: &str =
    "listen: \"${HOST}:1\"\nroutes: [{ path: /, price: \"${PRICE}\" }]\nfacilitator: { signer: { env: SIGNER } }\n";

fn load_in(folder: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    load(&folder.join("pontage.yaml"), env, Network::BASE_SEPOLIA)
}

/// A folder in a folder, each with a `.env` file, the inner one with a configuration.
fn folders(inner: &str, outer: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("inner");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("pontage.yaml"), format!("{HEAD}{FILE}")).unwrap();
    std::fs::write(folder.join(".env"), inner).unwrap();
    std::fs::write(root.path().join(".env"), outer).unwrap();
    (root, folder)
}

#[test]
fn m_031_env_files_are_read_the_nearer_one_first_and_the_process_before_both() {
    let inner = format!("PRICE=0.02\nSIGNER={KEY}\nPAY_GATE_FAIL_MODE=open\n");
    let (_root, folder) = folders(&inner, "export HOST='127.0.0.2' # outer\nPRICE=0.03\n");
    let config = load_in(&folder, &|_| None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(config.listen.to_string(), "127.0.0.2:1");
    assert!(config.fail_open);
    let PriceConfig::Due(due) = &config.routes[0].price else { panic!("it has a price") };
    assert_eq!(due.accepts[0].price.as_ref().map(|price| price.atomic), Some(20_000));
    let SignerSource::Key(signer) = &config.signers[0] else { panic!("a key") };
    assert_eq!(signer.read().unwrap().expose(), KEY);
    assert!(signer.to_string().starts_with("the variable SIGNER in "), "{signer}");
    assert!(!format!("{signer:?}").contains(KEY));

    let process = |name: &str| (name == "HOST" || name == "SIGNER").then(|| "127.0.0.3".to_owned());
    let config = load_in(&folder, &process).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.3:1");
    assert_eq!(config.signers, [SignerSource::Key(SecretSource::Env("SIGNER".to_owned()))]);

    std::fs::write(folder.join(".env"), "PRICE=1\n").unwrap();
    assert!(signer.read().unwrap_err().to_string().contains("SIGNER"));
}

#[test]
fn m_031_a_line_that_is_none_is_a_mistake_and_is_not_repeated() {
    let (_root, folder) = folders(&format!("PRICE=1\n{KEY}\n"), &format!("HOST=127.0.0.1\n\nA='{KEY}\n"));
    let mistakes = load_in(&folder, &|_| None).expect_err("two lines");
    let printed = mistakes.to_string();
    assert!(printed.contains("../.env:3\n    a quote is not closed"), "{printed}");
    assert!(printed.contains("\n.env:2\n    the line has no `=`"), "{printed}");
    assert_eq!(mistakes.list().len(), 2, "{printed}");
    assert!(!printed.contains(&KEY[4..12]), "{printed}");
}

#[test]
fn m_031_other_files_of_that_name_do_no_harm() {
    let (root, folder) = folders("", "");
    let env = |name: &str| match name {
        "HOST" => Some("127.0.0.1".to_owned()),
        "PRICE" => Some("1".to_owned()),
        _ => None,
    };
    std::fs::remove_file(folder.join(".env")).unwrap();
    std::fs::remove_file(root.path().join(".env")).unwrap();
    assert!(load_in(&folder, &env).is_ok(), "there is none");
    std::fs::create_dir(folder.join(".env")).unwrap();
    assert!(load_in(&folder, &env).is_ok(), "a folder");
    std::fs::write(root.path().join(".env"), "A=1\n".repeat(16 * 1024 + 1)).unwrap();
    assert!(load_in(&folder, &env).unwrap_err().to_string().contains("larger than 64 KiB"));
    std::fs::write(root.path().join(".env"), b"A=\xff\n").unwrap();
    assert!(load_in(&folder, &env).unwrap_err().to_string().contains("not UTF-8"));
}
