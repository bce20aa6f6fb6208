"""What both reference servers here sell, who is paid, and who settles.

`serve_….py FACILITATOR_URL`, with FACILITATOR_TOKEN in the environment. Each says on which port of 127.0.0.1 it listens, and once for
each run of its handler that it ran.
"""

import os
import socket
import sys

from x402.http import FacilitatorConfig
from x402.http.facilitator_client_base import AuthHeaders
from x402.http.types import PaymentOption, RouteConfig

PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
BODY = "served"
NETWORK = "eip155:84532"
ROUTES = {
    "GET /paid": RouteConfig(
        accepts=[PaymentOption(scheme="exact", price="$0.01", network=NETWORK, pay_to=PAYEE)],
        description="A word",
        mime_type="text/plain",
    )
}


class Token:
    """Shows the facilitator who asks."""

    def get_auth_headers(self) -> AuthHeaders:
        headers = {"Authorization": f"Bearer {os.environ['FACILITATOR_TOKEN']}"}
        return AuthHeaders(verify=headers, settle=headers, supported=headers)


def facilitator() -> FacilitatorConfig:
    return FacilitatorConfig(url=sys.argv[1], auth_provider=Token())


def ran() -> None:
    print("ran", flush=True)


def listener() -> socket.socket:
    """A socket that listens, told of on standard output."""
    sock = socket.create_server(("127.0.0.1", 0))
    print(f"Listening on 127.0.0.1:{sock.getsockname()[1]}", flush=True)
    return sock
