// An origin that serves only what pontage has let through. Run: PONTAGE_TRUST_SECRET=... PORT=3000 node origin.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

/** Whether pontage wrote these X-Pay-* headers for this very request, at most a minute ago. `nowS` is in seconds. */
export function fromPontage({ method, url, headers }, secret, nowS = Date.now() / 1000) {
  const [, t, v1] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(headers["x-pay-signature"] ?? "") ?? [];
  if (!v1 || Math.abs(nowS - Number(t)) > 60) return false;
  const pay = ["verified", "from", "amount", "settlement", "tab"].map((name) => headers[`x-pay-${name}`] ?? "");
  const message = [t, method, url, ...pay].join("\n");
  return timingSafeEqual(createHmac("sha256", secret).update(message, "latin1").digest(), Buffer.from(v1, "hex"));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const secret = process.env.PONTAGE_TRUST_SECRET;
  if (!secret) throw new Error("PONTAGE_TRUST_SECRET is not set; it is `proxy.trust_secret` of pontage's configuration");
  const server = createServer((request, response) => {
    // `free` and `false` are signed as well: that pontage spoke does not mean that somebody paid.
    const paid = ["true", "allowlisted", "paid-before"].includes(request.headers["x-pay-verified"]);
    const served = paid && fromPontage(request, secret);
    response.writeHead(served ? 200 : 403).end(served ? "served\n" : "not from pontage\n");
  });
  server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
}
