// A fetch that pays for a pass once and shows it with every later call, until it is over. `pay` is any fetch that answers a 402 by
// paying for an offer with `extra.pass`; it is asked only where no pass that is at hand opens the call.
const HEADER = "x-payment-pass";
// These are over for good; `pass_wrong_route` opens other calls.
const OVER = ["bad_pass", "pass_revoked", "pass_expired", "pass_used_up"];

export function withPasses(pay, plain = fetch) {
  /** The passes of an origin, newest first: a pass may open more than the path that it was bought on. */
  const kept = new Map();

  return async function (url, init = {}) {
    const { origin } = new URL(url);
    for (const pass of alive(kept.get(origin))) {
      const headers = new Headers(init.headers);
      headers.set(HEADER, pass);
      const response = await plain(url, { ...init, headers });
      if (response.status !== 402) return response;
      const { error } = await response.json();
      if (OVER.includes(error)) kept.set(origin, kept.get(origin).filter((other) => other !== pass));
      else if (error !== "pass_wrong_route") throw new Error(`a pass was refused: ${error}`);
    }
    const response = await pay(url, init);
    const bought = response.headers.get(HEADER);
    if (bought) kept.set(origin, [bought, ...alive(kept.get(origin))]);
    return response;
  };
}

/** Those whose time is not over by our clock. The gate has the last word. */
function alive(passes = []) {
  const ends = (pass) => JSON.parse(Buffer.from(pass.split(".")[0], "base64url")).exp ?? Infinity;
  return passes.filter((pass) => Date.now() / 1000 < ends(pass));
}

/** Prefers a pass of this kind (`time`, `calls`, `amount`) among the offers of a 402; else whatever comes first. */
export function preferPass(kind) {
  return (_version, offers) => offers.find((offer) => offer.extra?.pass?.kind === kind) ?? offers[0];
}
