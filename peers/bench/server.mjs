// The reference server: @x402/express with an HTTP facilitator. `node server.mjs FACILITATOR_URL`; says on which port it listens.
import express from "express";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { HTTPFacilitatorClient } from "@x402/core/server";

const facilitator = new HTTPFacilitatorClient({ url: process.argv[2] });
const server = new x402ResourceServer(facilitator).register("eip155:84532", new ExactEvmScheme());
const accepts = {
  scheme: "exact",
  price: "$0.0001",
  network: "eip155:84532",
  payTo: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
};
const app = express();
app.use(paymentMiddleware({ "GET /paid": { accepts } }, server));
const body = "x".repeat(1024);
app.get("/paid", (_request, response) => response.type("text/plain").send(body));
const listener = app.listen(0, "127.0.0.1", () => console.log(`Listening on 127.0.0.1:${listener.address().port}`));
