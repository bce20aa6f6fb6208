use super::*;

/// x402's fixture: key 0 pays 10000 to this payee; signed with viem, see the EIP-3009 digest of TestUsdc's domain.
const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
const NONCE: &str = "0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480";
const R: &str = "903ce473a1912185579462c096a3fdb5491d606a68a8bc1b68043c5f2c41c884";
const S: &str = "216c75bcacd3d7b8afd4674faea7cbc83e5ad7980d6b0af957976b41abe40ae9";
/// The group order minus `S`; with the other recovery bit it recovers to the same payer.
const HIGH_S: &str = "de938a43532c2847502b98b0515834367c54054ea1dd9542683af34b24523658";
const TRANSFER_VRS: &str = "0xe3ee160e";
const TRANSFER_BYTES: &str = "0xcf092995";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn chain(options: &ChainOptions) -> Chain {
    Chain::start(root(), options).unwrap()
}

/// The six words that both transfer overloads begin with.
fn authorization(from: &str) -> String {
    [
        address_word(from).unwrap(),
        address_word(PAYEE).unwrap(),
        number_word(10_000),
        number_word(0),
        number_word(2_000_000_000),
        bare(NONCE).to_owned(),
    ]
    .concat()
}

fn vrs(v: u128, s: &str) -> String {
    format!("{TRANSFER_VRS}{}{}{R}{s}", authorization(KEYS[0].address), number_word(v))
}

fn with_signature(from: &str, signature: &str) -> String {
    let length = signature.len() / 2;
    let padded = format!("{signature:0<width$}", width = length.div_ceil(32) * 64);
    let head = format!("{}{}", number_word(0xe0), number_word(length as u128));
    format!("{TRANSFER_BYTES}{}{head}{padded}", authorization(from))
}

fn says(chain: &Chain, selector: &str) -> String {
    let answer = chain.call(USDC, selector).unwrap();
    let words = bare(&answer);
    let length = number(&words[64..128]).unwrap() as usize;
    let content = &words[128..128 + 2 * length];
    (0..length).map(|at| u8::from_str_radix(&content[2 * at..2 * at + 2], 16).unwrap() as char).collect()
}

/// What both tokens must have in common for a gateway not to see a difference.
fn behaves_as_usdc(chain: &Chain) {
    assert_eq!(says(chain, "0x06fdde03"), "USDC", "name");
    assert_eq!(says(chain, "0x54fd4d50"), "2", "version");
    assert_eq!(
        chain.call(USDC, "0x3644e515").unwrap(),
        "0x71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818",
        "DOMAIN_SEPARATOR, as Base Sepolia has it"
    );
    assert_eq!(number(&chain.call(USDC, "0x313ce567").unwrap()).unwrap(), 6, "decimals");

    let payer = KEYS[0].address;
    let sender = KEYS[1].address;
    let poor = chain.call(USDC, &vrs(27, S)).unwrap_err();
    assert!(poor.to_string().contains("balance"), "{poor:#}");
    chain.mint(payer, 25_000).unwrap();
    assert_eq!(chain.balance(payer).unwrap(), 25_000);
    assert!(!chain.authorization_state(payer, NONCE).unwrap());

    let malleated = chain.call(USDC, &vrs(28, HIGH_S)).unwrap_err();
    assert!(malleated.to_string().contains("signature"), "{malleated:#}");
    chain.call(USDC, &vrs(28, S)).expect_err("the wrong recovery bit is another payer's signature");

    let chain_tx = chain.send_as(sender, USDC, &vrs(27, S)).unwrap();
    assert_eq!(chain.succeeded(&chain_tx).unwrap(), Some(true));
    assert!(chain.authorization_state(payer, NONCE).unwrap());
    assert_eq!((chain.balance(payer).unwrap(), chain.balance(PAYEE).unwrap()), (15_000, 10_000));
    let logs = chain.transfers_to(PAYEE).unwrap();
    assert_eq!(logs.len(), 1);
    let paid = (logs[0].from.as_str(), logs[0].value, logs[0].chain_tx.as_str());
    assert_eq!(paid, (payer.to_ascii_lowercase().as_str(), 10_000, chain_tx.as_str()));
    let again = chain.send_as(sender, USDC, &vrs(27, S)).unwrap();
    assert_eq!(chain.succeeded(&again).unwrap(), Some(false), "an authorization moves money once");
    assert_eq!(chain.balance(PAYEE).unwrap(), 10_000);
}

#[test]
fn our_token_behaves_as_usdc() {
    let chain = chain(&ChainOptions::default());
    chain.plant_token().unwrap();
    behaves_as_usdc(&chain);
}

#[test]
fn circles_token_behaves_as_usdc() {
    let artifact = peers::fiat_token(root()).unwrap();
    let chain = chain(&ChainOptions::default());
    chain.plant_fiat_token(&artifact).unwrap();
    behaves_as_usdc(&chain);
}

#[test]
fn our_token_takes_bytes_signatures_and_asks_contracts() {
    let chain = chain(&ChainOptions::default());
    chain.plant_token().unwrap();
    let payer = KEYS[0].address;
    chain.mint(payer, 10_000).unwrap();
    // blacklist(payer, true), then false.
    let blocked = |yes: u128| format!("0x404e5129{}{}", address_word(payer).unwrap(), number_word(yes));
    let signed = with_signature(payer, &format!("{R}{S}1b"));
    chain.send_as(PAYEE, USDC, &blocked(1)).unwrap();
    let refused = chain.call(USDC, &signed).unwrap_err();
    assert!(refused.to_string().contains("blacklisted"), "{refused:#}");
    chain.send_as(PAYEE, USDC, &blocked(0)).unwrap();
    chain.send_as(PAYEE, USDC, &signed).unwrap();
    assert_eq!(chain.balance(PAYEE).unwrap(), 10_000);

    // A wallet that agrees to everything, and one that answers zero.
    for (wallet, answer, paid) in [
        ("0x1271000000000000000000000000000000000001", "1626ba7e", true),
        ("0x1271000000000000000000000000000000000002", "00000000", false),
    ] {
        chain.plant(wallet, &format!("0x63{answer}60e01b5f5260205ff3")).unwrap();
        chain.mint(wallet, 10_000).unwrap();
        let chain_tx = chain.send_as(PAYEE, USDC, &with_signature(wallet, "1234")).unwrap();
        assert_eq!(chain.succeeded(&chain_tx).unwrap(), Some(paid));
        assert_eq!(chain.authorization_state(wallet, NONCE).unwrap(), paid);
    }
    assert_eq!(chain.balance(PAYEE).unwrap(), 20_000);
}

#[test]
fn nothing_is_mined_until_asked() {
    let options = ChainOptions::default();
    let never = ChainOptions { mining: false, ..options.clone() };
    let hourly = ChainOptions { block_time_s: Some(3_600), ..options };
    for options in [never, hourly] {
        waits_for_a_block(&chain(&options));
    }
}

fn waits_for_a_block(chain: &Chain) {
    chain.plant_token().unwrap();
    let payer = KEYS[0].address;
    chain.mint(payer, 10_000).unwrap();
    let chain_tx = chain.send_as(KEYS[1].address, USDC, &vrs(27, S)).unwrap();
    assert_eq!(chain.succeeded(&chain_tx).unwrap(), None);
    assert!(!chain.authorization_state(payer, NONCE).unwrap());
    chain.increase_time(3_600).unwrap();
    chain.mine().unwrap();
    assert_eq!(chain.succeeded(&chain_tx).unwrap(), Some(true));
    chain.set_interval(0).unwrap();
    chain.set_automine(true).unwrap();
    let at_once = chain.send_as(KEYS[1].address, PAYEE, "0x").unwrap();
    assert_eq!(chain.succeeded(&at_once).unwrap(), Some(true));
    chain.set_native_balance(PAYEE, 5).unwrap();
    assert_eq!(chain.native_balance(PAYEE).unwrap(), 5);
}

#[test]
fn words_are_what_the_abi_says() {
    assert_eq!(number("0x00000000000000000000000000000000ffffffffffffffffffffffffffffffff").unwrap(), u128::MAX);
    assert_eq!(number("0x0").unwrap(), 0);
    assert!(number("0x").is_err());
    assert!(number("0x100000000000000000000000000000000").is_err());
    assert_eq!(string_words("USD"), format!("{:0>64}{:0<64}", "3", "555344"));
    assert!(address_word("0x12").is_err());
}
