// Checks receipts of pontage offline: node verify.ts SIGNER FILE...
// A file is what X-402-Receipt holds (base64) or GET /receipts/{id} answers (JSON). Prints one line for each; exits 1 if any is not
// valid. Needs viem; Node 22.18 runs this as it is, an older one as verify.mjs.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { keccak256, recoverPublicKey, stringToBytes } from 'viem';
import { publicKeyToAddress } from 'viem/accounts';

// RFC 8785: members in order, no white space. Every number in a receipt is whole.
const canonical = (value) =>
  Array.isArray(value) ? `[${value.map(canonical)}]`
  : value && typeof value === 'object'
    ? `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)}}`
  : JSON.stringify(value);

export async function verifyReceipt(text, signer) {
  try {
    const json = text.trim().startsWith('{') ? text : Buffer.from(text, 'base64').toString();
    const { receipt, signature, server_public_key: key, status = 'valid', ...more } = JSON.parse(json);
    // One text for each signature: digits in lower case, s in the lower half.
    if (!/^0x[0-9a-f]{64}[0-7][0-9a-f]{63}1[bc]$/.test(signature) || status !== 'valid' || Object.keys(more).length) return false;
    const hash = keccak256(stringToBytes(canonical(receipt)));
    return (await recoverPublicKey({ hash, signature })) === key && publicKeyToAddress(key) === signer;
  } catch {
    return false;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [signer, ...files] = process.argv.slice(2);
  for (const file of files) {
    const valid = await verifyReceipt(readFileSync(file, 'utf8'), signer);
    console.log(`${valid ? 'valid' : 'invalid'} ${file}`);
    if (!valid) process.exitCode = 1;
  }
}
