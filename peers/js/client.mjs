// What the three paying programs share: the command line, the payer's key and the one line they print.
import { privateKeyToAccount } from "viem/accounts";

/** Reads `URL [--method M] [--body S] [--header K:V]... [--any-asset]` and the payer's account from PAYER_KEY. */
export function readCommand() {
  const words = process.argv.slice(2);
  const command = { url: undefined, method: undefined, body: undefined, headers: {}, anyAsset: false };
  const value = (option) => {
    if (words.length === 0) throw new Error(`${option} needs a value`);
    return words.shift();
  };
  while (words.length > 0) {
    const word = words.shift();
    if (word === "--method") command.method = value(word);
    else if (word === "--body") command.body = value(word);
    else if (word === "--header") {
      const header = value(word);
      const colon = header.indexOf(":");
      if (colon < 1) throw new Error("--header needs NAME:VALUE");
      command.headers[header.slice(0, colon).trim()] = header.slice(colon + 1).trim();
    } else if (word === "--any-asset") command.anyAsset = true;
    else if (word.startsWith("--") || command.url !== undefined) throw new Error(`unexpected argument: ${word}`);
    else command.url = word;
  }
  if (command.url === undefined) {
    throw new Error("usage: PAYER_KEY=0x... node PROGRAM URL [--method M] [--body S] [--header K:V]... [--any-asset]");
  }
  command.method ??= command.body === undefined ? "GET" : "POST";
  // The key comes from the environment because every process on the machine can read a command line.
  const key = process.env.PAYER_KEY;
  if (!key) throw new Error("PAYER_KEY is not set; it is the payer's private key, 0x and 64 hex digits");
  return { ...command, account: privateKeyToAccount(key.startsWith("0x") ? key : `0x${key}`) };
}

/** A receipt that cannot be read is reported on stderr and printed as null: the HTTP answer still counts. */
function readReceipt(headers) {
  const header = headers["payment-response"] ?? headers["x-payment-response"];
  if (header === undefined) return null;
  try {
    return JSON.parse(Buffer.from(header, "base64").toString("utf8"));
  } catch (error) {
    console.error(`receipt header is not base64 of JSON: ${error.message}`);
    return null;
  }
}

/** Runs `pay`, which answers {status, body, headers} with lower-case header names. Any answer, a 402 too, is success. */
export async function main(pay) {
  try {
    const { status, body, headers } = await pay(readCommand());
    process.stdout.write(`${JSON.stringify({ status, body, headers, receipt: readReceipt(headers) })}\n`);
  } catch (error) {
    console.error(error?.stack ?? String(error));
    process.exitCode = 1;
  }
}

/** The printed form of a fetch `Response`. */
export async function fromResponse(response) {
  return { status: response.status, body: await response.text(), headers: Object.fromEntries(response.headers) };
}
