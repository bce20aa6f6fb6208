//! The file that `pontage init` writes.

/// A starter file. It has exactly one mistake, which `pontage validate` names: the address to be paid is not filled in.
pub(crate) const TEMPLATE: &str = r#"# pontage: charges the programs that call your API. All keys: docs/config.md.
# `pontage validate` checks this file, `pontage start` runs it. Editors check it after `pontage schema > pontage.schema.json`, with
# this as the first line: yaml-language-server: $schema=pontage.schema.json
version: 1

# Who is paid. Fill in your own address: pontage never needs its key.
provider_address: "0x0000000000000000000000000000000000000000"

# Where pontage listens, and the API that it stands in front of.
listen: "127.0.0.1:8402"
proxy:
  target: "http://127.0.0.1:3000"
  timeout: 30s

# The first route that matches decides. A call that no route matches is blocked; `passthrough` would let it through unpaid.
default_action: block
routes:
  - path: /health
    free: true
  - path: /paid/*
    price: "0.01" # dollars for each call

# Where payments are taken: eip155:84532 is Base Sepolia, test money; eip155:8453 is Base, real money. rpc_urls is a node of that
# network; port 8545 of this machine is where `pontage devnet` answers. USDC is taken unless `assets` says otherwise.
networks:
  "eip155:84532":
    rpc_urls: ["http://127.0.0.1:8545"]

# Who sends payments to the chain. For a signer, name the place where its key is kept; never write the key here.
facilitator:
  signer: { env: PONTAGE_SIGNER_KEY }

# What was paid and served is kept here, beside this file. Losing it loses the books.
store:
  path: pontage.db
"#;
