// Checks receipts of pontage offline: node verify.ts SIGNER FILE...
// A file is what X-402-Receipt holds (base64) or GET /receipts/{id} answers (JSON). Prints one line for each; exits 1 if any is not
// valid. Needs viem. Node runs it as it is from 22.18 on, and older ones after `tsc`.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { keccak256, recoverPublicKey, stringToBytes } from 'viem';
import { publicKeyToAddress } from 'viem/accounts';

// RFC 8785: members in order, no white space. Every number in a receipt is whole.
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`)}}`;
}

// JSON.parse lets the last of two members with one name count, and a reader may see the first. Written again, one of them is missing.
function parsedOnce(json: string) {
  const value = JSON.parse(json);
  const plain = json.replace(/"(?:[^"\\]|\\.)*"|\s+/g, (token) => (token[0] === '"' ? JSON.stringify(JSON.parse(token)) : ''));
  if (JSON.stringify(value) !== plain) throw new Error('a member is there twice');
  return value;
}

export async function verifyReceipt(text: string, signer: string): Promise<boolean> {
  try {
    const json = text.trim().startsWith('{') ? text : Buffer.from(text, 'base64').toString();
    const { receipt, signature, server_public_key: key, status = 'valid', ...more } = parsedOnce(json);
    // One text for each signature: digits in lower case, s in the lower half.
    const isOneText = /^0x[0-9a-f]{64}[0-7][0-9a-f]{63}1[bc]$/.test(signature);
    if (!isOneText || status !== 'valid' || Object.keys(more).length > 0) return false;
    const hash = keccak256(stringToBytes(canonical(receipt)));
    return (await recoverPublicKey({ hash, signature })) === key && publicKeyToAddress(key) === signer;
  } catch {
    return false;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [signer = '', ...files] = process.argv.slice(2);
  for (const file of files) {
    const valid = await verifyReceipt(readFileSync(file, 'utf8'), signer);
    console.log(`${valid ? 'valid' : 'invalid'} ${file}`);
    if (!valid) process.exitCode = 1;
  }
}
