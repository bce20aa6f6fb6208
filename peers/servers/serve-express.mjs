// @x402/express, the current reference server, unmodified.
import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { BODY, PAYEE, PRICE, facilitator, listening, ran } from "./common.mjs";

const server = new x402ResourceServer(new HTTPFacilitatorClient(facilitator));
server.register("eip155:84532", new ExactEvmScheme());
const accepts = { scheme: "exact", price: PRICE, network: "eip155:84532", payTo: PAYEE };
const app = express();
app.use(paymentMiddleware({ "GET /paid": { accepts, description: "A word", mimeType: "text/plain" } }, server));
app.get("/paid", (_request, response) => {
  ran();
  response.type("text/plain").send(BODY);
});
const listener = app.listen(0, "127.0.0.1", () => listening(listener.address().port));
