//! The sandbox in words.

use std::path::Path;

use protocol::print_decimal;
use serde_json::{Value, json};

use super::{PAID, PAYEE, PAYER_KEY, Running, SERVICES, SETTLER_KEY};

/// Where everything is.
pub(super) fn head(running: &Running) -> String {
    let prices: String = SERVICES.iter().map(|(path, price)| format!("\n          {path:<22} ${price}")).collect();
    format!(
        "chain   {}  an EVM in this process: Base Sepolia's id, test USDC\n\
         API     http://{}  four demo services, unprotected\n\
         gate    http://{}  pontage in front of them:{prices}\n",
        running.chain.rpc_url(),
        running.api,
        running.gate
    )
}

/// The paid call, step by step.
pub(super) fn tell(story: &Value) -> String {
    let (offer, signed) = (&story["exchange"]["challenge"]["accepts"][0], &story["exchange"]["signed"]);
    let (answer, status) = (&story["exchange"]["answer"], &story["status"]);
    let (before, after) = (&story["balances_atomic"]["before"], &story["balances_atomic"]["after"]);
    format!(
        "1. The caller asked for\n     GET {url}\n   and was told 402 Payment Required (header PAYMENT-REQUIRED):\n\
         \x20    {price} USDC on {network} to {payee}\n\n\
         2. Its wallet signed an authorization (EIP-3009). It moves this and nothing else:\n\
         \x20    from   {from}\n     to     {to}\n     value  {value} atomic units of {name} {contract}\n\
         \x20    valid  until {until} (seconds since 1970)\n     nonce  {nonce}\n\n\
         3. It asked again with it (header PAYMENT-SIGNATURE). pontage checked it against the chain, claimed it in its journal,\n\
         \x20  ran the API once and gave out the answer:\n     {code} {body}\n\n\
         4. The receipt (header PAYMENT-RESPONSE) says that the payment is held, on the tab:\n     payment  {payment}\n\n\
         5. A moment later the tab was settled, in a transaction that can carry many payments:\n\
         \x20    state        {state}\n     transaction  {chain_tx}\n     block        {block}\n\n\
         6. On the chain            before          after\n     payer        {payer_before:>12}   {payer_after:>12}  USDC\n\
         \x20    payee        {payee_before:>12}   {payee_after:>12}  USDC",
        url = text(&story["url"]),
        price = usdc(&offer["amount"]),
        network = text(&offer["network"]),
        payee = text(&offer["payTo"]),
        from = text(&signed["from"]),
        to = text(&signed["to"]),
        value = text(&signed["value"]),
        name = text(&signed["domain"]["name"]),
        contract = text(&signed["domain"]["verifyingContract"]),
        until = text(&signed["validBefore"]),
        nonce = text(&signed["nonce"]),
        code = text(&answer["status"]),
        body = text(&answer["body"]).trim_end(),
        payment = text(&answer["receipt"]["extra"]["payment"]),
        state = text(&status["state"]),
        chain_tx = text(&status["transaction"]),
        block = text(&status["block"]),
        payer_before = usdc(&before["payer"]),
        payer_after = usdc(&after["payer"]),
        payee_before = usdc(&before["payee"]),
        payee_after = usdc(&after["payee"]),
    )
}

/// What to try next.
pub(super) fn commands(running: &Running, config: &Path) -> String {
    let (gate, program) = (running.gate, program());
    let data = format!("0x70a08231{:0>64}", alloy_primitives::hex::encode(PAYEE));
    let call = json!({ "to": devnet::USDC.to_string(), "data": data });
    let balance = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"] });
    format!(
        "\nIt stays up. Try it from another terminal (the keys are public test keys, the money is test money):\n\n\
         \x20 curl -i http://{gate}/health                      # free\n\
         \x20 curl -i 'http://{gate}{PAID}'    # 402 and the price\n\n\
         \x20 # pay for a call\n\
         \x20 PONTAGE_PAYER_KEY={PAYER_KEY} \\\n    {program} __pay 'http://{gate}/api/embed?text=to+cross+a+bridge'\n\n\
         \x20 # the books, and whether they agree with the chain\n\
         \x20 {program} ledger show  --config {config}\n\
         \x20 {program} ledger audit --config {config}\n\n\
         \x20 # what the payee has on the chain\n\
         \x20 curl -s -H 'content-type: application/json' {rpc} -d '{balance}'\n\n\
         Ctrl-C ends it, and everything in it is gone.",
        config = config.display(),
        rpc = running.chain.rpc_url(),
    )
}

/// How to use `pontage devnet`.
pub(super) fn devnet(chain: &devnet::Devnet, chain_id: u64) -> String {
    format!(
        "chain     eip155:{chain_id}, an EVM in this process; it forgets everything when it ends, so a gate's journal ends with it\n\
         USDC      {usdc}; each of ten test accounts has 1,000 of it, and coins for gas\n\n\
         In pontage.yaml:\n\n\
         \x20 networks:\n    \"eip155:{chain_id}\": {{ rpc_urls: [\"{rpc}\"] }}\n\n\
         Settle with one public test key, and pay with another:\n\n\
         \x20 PONTAGE_SIGNER_KEY={SETTLER_KEY} \\\n    {program} start\n\
         \x20 PONTAGE_PAYER_KEY={PAYER_KEY} \\\n    {program} __pay http://127.0.0.1:8402/paid/x\n",
        usdc = devnet::USDC,
        rpc = chain.rpc_url(),
        program = program(),
    )
}

/// How this program was called.
fn program() -> String {
    std::env::args().next().unwrap_or("pontage".to_owned())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn usdc(atomic: &Value) -> String {
    let atomic = text(atomic).parse().unwrap_or_default();
    let short = print_decimal(atomic, 6);
    // Six places always, so that columns of money line up.
    let places = short.split_once('.').map_or(0, |(_, places)| places.len());
    format!("{short}{}", "0".repeat(6usize.saturating_sub(places)))
}
