// x402-express 1.2, the server of x402 version 1, unmodified.
import express from "express";
import { paymentMiddleware } from "x402-express";
import { BODY, PAYEE, PRICE, facilitator, listening, ran } from "./common.mjs";

const app = express();
app.use(paymentMiddleware(PAYEE, { "GET /paid": { price: PRICE, network: "base-sepolia" } }, facilitator));
app.get("/paid", (_request, response) => {
  ran();
  response.type("text/plain").send(BODY);
});
const listener = app.listen(0, "127.0.0.1", () => listening(listener.address().port));
