// Pays one request with @x402/axios. It has its own, older @x402/core, which knows no spend controls.
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapAxiosWithPayment, x402Client } from "@x402/axios";
import axios from "axios";
import { main } from "./client.mjs";

await main(async ({ url, method, body, headers, account }) => {
  // The interceptor wants a parsed 402 body (version 1 offers travel there) and we print the text: keep both.
  let text = "";
  const http = axios.create({
    proxy: false,
    responseType: "text",
    transformResponse: [
      (data) => {
        text = data ?? "";
        try {
          return JSON.parse(text);
        } catch {
          return text;
        }
      },
    ],
  });
  const client = registerExactEvmScheme(new x402Client(), { signer: account });
  let answer;
  try {
    answer = await wrapAxiosWithPayment(http, client).request({ url, method, data: body, headers });
  } catch (error) {
    if (!error.response) throw error;
    answer = error.response;
  }
  const lower = {};
  for (const [name, value] of Object.entries(answer.headers)) lower[name.toLowerCase()] = String(value);
  return { status: answer.status, body: text, headers: lower };
});
