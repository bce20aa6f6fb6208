// Compiles contracts/TestUsdc.sol and writes contracts/TestUsdc.json.
// With --check it writes nothing and fails when the committed file differs.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const contracts = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "contracts");
const contract = "TestUsdc";
const file = `${contract}.sol`;

// Everything that can change a byte of the output is named, so that a new compiler's defaults cannot.
const settings = {
  evmVersion: "cancun",
  viaIR: true, // The nine-argument functions overflow the old pipeline's stack.
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
};
const input = {
  language: "Solidity",
  sources: { [file]: { content: readFileSync(join(contracts, file), "utf8") } },
  settings: { ...settings, outputSelection: { [file]: { [contract]: ["abi", "evm.deployedBytecode.object"] } } },
};

const output = JSON.parse(solc.compile(JSON.stringify(input)));
const complaints = output.errors ?? [];
if (complaints.length > 0) {
  // A warning fails too: the contract is small enough to have none.
  for (const complaint of complaints) console.error(complaint.formattedMessage);
  process.exit(1);
}

const built = output.contracts[file][contract];
const artifact = {
  contract,
  compiler: solc.version(),
  settings,
  abi: built.abi,
  deployedBytecode: `0x${built.evm.deployedBytecode.object}`,
};
const text = `${JSON.stringify(artifact, null, 2)}\n`;
const target = join(contracts, `${contract}.json`);

if (process.argv.includes("--check")) {
  let committed = "";
  try {
    committed = readFileSync(target, "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  if (committed !== text) {
    console.error(`contracts/${contract}.json is not what contracts/${file} compiles to; run: node peers/js/compile.mjs`);
    process.exit(1);
  }
  console.error(`contracts/${contract}.json is up to date (${artifact.compiler})`);
} else {
  writeFileSync(target, text);
  console.error(`wrote contracts/${contract}.json (${(artifact.deployedBytecode.length - 2) / 2} bytes, ${artifact.compiler})`);
}
