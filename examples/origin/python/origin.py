"""An origin that serves only what pontage has let through. Run: PONTAGE_TRUST_SECRET=... PORT=3000 python3 origin.py"""

import hashlib
import hmac
import os
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def from_pontage(method, path, headers, secret, now_s=None):
    """Whether pontage wrote these X-Pay-* headers for this very request, at most a minute ago.

    `path` is the path with its query as it came, not decoded; `headers` gives a value or a default by a lower-case name.
    """
    signature = re.fullmatch(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", headers.get("x-pay-signature", ""))
    if not signature or abs((time.time() if now_s is None else now_s) - int(signature[1])) > 60:
        return False
    pay = [headers.get(f"x-pay-{name}", "") for name in ("verified", "from", "amount", "settlement", "tab")]
    message = "\n".join([signature[1], method, path, *pay]).encode("latin-1")
    return hmac.compare_digest(hmac.new(secret.encode(), message, hashlib.sha256).hexdigest(), signature[2])


class Origin(BaseHTTPRequestHandler):
    def do_GET(self):
        # `free` and `false` are signed as well: that pontage spoke does not mean that somebody paid.
        paid = self.headers.get("x-pay-verified") in ("true", "allowlisted", "paid-before")
        served = paid and from_pontage(self.command, self.path, self.headers, SECRET)
        body = b"served\n" if served else b"not from pontage\n"
        self.send_response(200 if served else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


if __name__ == "__main__":
    SECRET = os.environ["PONTAGE_TRUST_SECRET"]  # `proxy.trust_secret` of pontage's configuration
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Origin)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
