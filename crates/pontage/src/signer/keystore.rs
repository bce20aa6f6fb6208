//! Encrypted key files as Ethereum's wallets write them: Web3 Secret Storage, version 3.

use aes::Aes128;
use alloy_primitives::{Address, hex, keccak256};
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use protocol::{Key, Signer as _};
use serde_json::Value;
use sha2::Sha256;

/// What scrypt may take: wallets write files that take 256 MiB.
const SCRYPT_MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Forty times what wallets write: a file that takes minutes is a mistake.
const ROUNDS_MAX: u32 = 10_000_000;

/// Why a key file could not be read. It repeats nothing of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeystoreFault {
    /// Not such a file, or a version, cipher or key derivation that wallets do not write.
    #[error("is not an encrypted key file of version 3 ({0})")]
    NotAKeystore(&'static str),
    /// Its check does not fit the password.
    #[error("cannot be opened with this password")]
    WrongPassword,
    /// What it decrypts to is no key, or that of another address than it says.
    #[error("does not hold the key that it says")]
    WrongKey,
}

use KeystoreFault::NotAKeystore;

/// The key in a file.
pub(super) fn decrypt(text: &str, password: &str) -> Result<Key, KeystoreFault> {
    let file: Value = serde_json::from_str(text).map_err(|_| NotAKeystore("it is not JSON"))?;
    if file["version"] != 3 {
        return Err(NotAKeystore("version"));
    }
    let crypto = if file["crypto"].is_null() { &file["Crypto"] } else { &file["crypto"] };
    if crypto["cipher"] != "aes-128-ctr" {
        return Err(NotAKeystore("cipher"));
    }
    let iv: [u8; 16] = bytes(&crypto["cipherparams"]["iv"], "iv")?.try_into().map_err(|_| NotAKeystore("iv"))?;
    let mut secret = bytes(&crypto["ciphertext"], "ciphertext")?;
    let derived = derive(crypto, password)?;
    let (cipher_key, check) = derived.split_at(16);
    if keccak256([check, &secret].concat()).as_slice() != bytes(&crypto["mac"], "mac")? {
        return Err(KeystoreFault::WrongPassword);
    }
    let cipher_key: [u8; 16] = cipher_key.try_into().map_err(|_| NotAKeystore("kdf"))?;
    ctr::Ctr128BE::<Aes128>::new(&cipher_key.into(), &iv.into()).apply_keystream(&mut secret);
    let key = Key::from_hex(&hex::encode(&secret)).map_err(|_| KeystoreFault::WrongKey)?;
    match file["address"].as_str() {
        Some(said) if said.parse::<Address>().ok() != Some(key.address()) => Err(KeystoreFault::WrongKey),
        Some(_) | None => Ok(key),
    }
}

/// The 32 bytes that the password comes to.
fn derive(crypto: &Value, password: &str) -> Result<[u8; 32], KeystoreFault> {
    let parameters = &crypto["kdfparams"];
    let number = |name: &'static str| parameters[name].as_u64().ok_or(NotAKeystore(name));
    let salt = bytes(&parameters["salt"], "salt")?;
    if number("dklen")? != 32 {
        return Err(NotAKeystore("dklen"));
    }
    let mut derived = [0; 32];
    match crypto["kdf"].as_str() {
        Some("scrypt") => {
            let (n, r, p) = (number("n")?, number("r")?, number("p")?);
            let small =
                n.checked_mul(r).and_then(|size| size.checked_mul(128)).is_some_and(|size| size <= SCRYPT_MAX_BYTES);
            if !n.is_power_of_two() || !small || p > 64 {
                return Err(NotAKeystore("n, r, p"));
            }
            let log_n = u8::try_from(n.ilog2()).map_err(|_| NotAKeystore("n"))?;
            let (r, p) = (u32::try_from(r), u32::try_from(p));
            let (Ok(r), Ok(p)) = (r, p) else { return Err(NotAKeystore("r, p")) };
            let parameters = scrypt::Params::new(log_n, r, p).map_err(|_| NotAKeystore("n, r, p"))?;
            scrypt::scrypt(password.as_bytes(), &salt, &parameters, &mut derived).map_err(|_| NotAKeystore("kdf"))?;
        }
        Some("pbkdf2") if parameters["prf"] == "hmac-sha256" => {
            let rounds = u32::try_from(number("c")?).ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds));
            let rounds = rounds.ok_or(NotAKeystore("c"))?;
            pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, rounds, &mut derived);
        }
        Some(_) | None => return Err(NotAKeystore("kdf")),
    }
    Ok(derived)
}

fn bytes(value: &Value, name: &'static str) -> Result<Vec<u8>, KeystoreFault> {
    value.as_str().and_then(|text| hex::decode(text).ok()).ok_or(NotAKeystore(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by eth_account: the second key of the public test mnemonic, once with each derivation.
    const SCRYPT: &str = include_str!("../../tests/lanes/keystore.json");
    const PBKDF2: &str = r#"{"address": "70997970C51812dc3A010C7d01b50e0d17dc79C8", "crypto": {"cipher": "aes-128-ctr",
        "cipherparams": {"iv": "a10162e5ca28424b82b6e2ffa99e6403"},
        "ciphertext": "5f22ff6302106612dfc5676fc2ab51f7042515b34eb6a04cea6b6e1c28a4be84", "kdf": "pbkdf2", "kdfparams": {"c": 1000,
        "dklen": 32, "prf": "hmac-sha256", "salt": "471b5e6f9cbade3292648dca60711392"},
        "mac": "195e82f1cf0c6e96b15e16483af60ac99f8dbaeb59729cc6e08f684c1ab60ca0"}, "version": 3}"#;
    const PASSWORD: &str = "a password of the tests";
    const ADDRESS: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

    fn words(text: &str, password: &str) -> String {
        match decrypt(text, password) {
            Ok(key) => key.address().to_string(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn files_of_another_program_are_read() {
        for text in [SCRYPT, PBKDF2, &PBKDF2.replace("\"crypto\"", "\"Crypto\"")] {
            assert_eq!(words(text, PASSWORD), ADDRESS);
            assert_eq!(words(text, "a password of the test"), "cannot be opened with this password");
            assert_eq!(words(text, ""), "cannot be opened with this password");
        }
    }

    /// The example of the format's definition.
    #[test]
    fn the_published_example() {
        let text = r#"{"crypto": {"cipher": "aes-128-ctr", "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46", "kdf": "pbkdf2",
            "kdfparams": {"c": 262144, "dklen": 32, "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"}, "version": 3}"#;
        let key = Key::from_hex("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d").unwrap();
        assert_eq!(words(text, "testpassword"), key.address().to_string());
    }

    /// What is written instead of what; what is said. None of it takes long or much memory.
    #[test]
    fn what_is_no_key_file_table() {
        let none = |why: &str| format!("is not an encrypted key file of version 3 ({why})");
        for (text, what, instead, want) in [
            (SCRYPT, "\"version\": 3", "\"version\": 1", none("version")),
            (SCRYPT, "aes-128-ctr", "aes-128-cbc", none("cipher")),
            (SCRYPT, "\"scrypt\"", "\"argon2\"", none("kdf")),
            (SCRYPT, "\"n\": 1024", "\"n\": 1073741824", none("n, r, p")),
            (SCRYPT, "\"n\": 1024", "\"n\": 1000", none("n, r, p")),
            (SCRYPT, "\"r\": 8", "\"r\": 18446744073709551615", none("n, r, p")),
            (SCRYPT, "\"r\": 8", "\"r\": 0", none("n, r, p")),
            (SCRYPT, "\"p\": 1", "\"p\": 1000000", none("n, r, p")),
            (SCRYPT, "\"dklen\": 32", "\"dklen\": 64", none("dklen")),
            (SCRYPT, "54eee7c251b7e6777477978f741004ec", "54ee", none("iv")),
            (SCRYPT, "{\"address", "{{\"address", none("it is not JSON")),
            (SCRYPT, "29a79f", "29a79e", "cannot be opened with this password".to_owned()),
            (SCRYPT, "70997970C51812dc", "80997970C51812dc", "does not hold the key that it says".to_owned()),
            (PBKDF2, "\"c\": 1000", "\"c\": 4294967295", none("c")),
            (PBKDF2, "\"c\": 1000", "\"c\": 0", none("c")),
            (PBKDF2, "hmac-sha256", "hmac-sha512", none("kdf")),
        ] {
            assert!(text.contains(what), "{what}");
            assert_eq!(words(&text.replace(what, instead), PASSWORD), want, "{instead}");
        }
    }
}
