// Calls one URL seven times with examples/pass: a pass of calls is bought, reused, and bought again when it is used up.
import { x402Client } from "@x402/core/client";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment } from "@x402/fetch";
import { preferPass, withPasses } from "../../examples/pass/pass.mjs";
import { main } from "./client.mjs";

await main(async ({ url, account }) => {
  const client = registerExactEvmScheme(new x402Client(preferPass("calls")), { signer: account });
  const call = withPasses(wrapFetchWithPayment(fetch, client));
  const statuses = [];
  let bought = 0;
  for (let nth = 0; nth < 7; nth++) {
    const response = await call(url);
    statuses.push(response.status);
    bought += response.headers.has("x-payment-pass") ? 1 : 0;
    await response.text();
  }
  return { status: 200, body: { statuses, bought }, headers: {} };
});
