// Writes the contracts that tests plant: contracts/TestUsdc.json from contracts/TestUsdc.sol, and contracts/Multicall3.json from
// a package. With --check it writes nothing and fails when a committed file differs.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const check = process.argv.includes("--check");
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
emit(contract, artifact, `contracts/${file} compiles to with ${artifact.compiler}`);

// The code that public chains have at Multicall3's address, as Optimism's own chains are born with it.
const bedrock = dirname(createRequire(import.meta.url).resolve("@eth-optimism/contracts-bedrock/package.json"));
const { version } = JSON.parse(readFileSync(join(bedrock, "package.json"), "utf8"));
const preinstalls = readFileSync(join(bedrock, "src", "libraries", "Preinstalls.sol"), "utf8");
const found = /bytes internal constant MultiCall3Code =\s*hex"([0-9a-f]+)"/.exec(preinstalls);
if (!found) throw new Error("Preinstalls.sol has no MultiCall3Code");
emit(
  "Multicall3",
  {
    contract: "Multicall3",
    source: `npm @eth-optimism/contracts-bedrock ${version}, src/libraries/Preinstalls.sol, MultiCall3Code. Licence MIT.`,
    deployedBytecode: `0x${found[1]}`,
  },
  `is in @eth-optimism/contracts-bedrock ${version}`,
);

function emit(name, content, origin) {
  const text = `${JSON.stringify(content, null, 2)}\n`;
  const target = join(contracts, `${name}.json`);
  if (!check) {
    writeFileSync(target, text);
    console.error(`wrote contracts/${name}.json (${(content.deployedBytecode.length - 2) / 2} bytes)`);
    return;
  }
  let committed = "";
  try {
    committed = readFileSync(target, "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  if (committed !== text) {
    console.error(`contracts/${name}.json is not what ${origin}; run: node peers/js/compile.mjs`);
    process.exit(1);
  }
  console.error(`contracts/${name}.json is up to date`);
}
