// @x402/hono, the reference server on Hono, unmodified.
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/hono";
import { BODY, PAYEE, PRICE, facilitator, listening, ran } from "./common.mjs";

const server = new x402ResourceServer(new HTTPFacilitatorClient(facilitator));
server.register("eip155:84532", new ExactEvmScheme());
const accepts = { scheme: "exact", price: PRICE, network: "eip155:84532", payTo: PAYEE };
const app = new Hono();
app.use(paymentMiddleware({ "GET /paid": { accepts, description: "A word", mimeType: "text/plain" } }, server));
app.get("/paid", (context) => {
  ran();
  return context.text(BODY);
});
serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" }, ({ port }) => listening(port));
