"""What the two paying programs share: the command line, the payer's key and the one line they print."""

import argparse
import json
import os
import sys
import traceback
from dataclasses import dataclass

from eth_account import Account
from eth_account.signers.local import LocalAccount
from x402.http.utils import decode_payment_response_header
from x402.mechanisms.evm.exact.register import register_exact_evm_client


@dataclass
class Command:
    url: str
    method: str
    body: bytes | None
    headers: dict[str, str]
    account: LocalAccount
    any_asset: bool


def read_command() -> Command:
    parser = argparse.ArgumentParser(description="Pays one request; the payer's key is in PAYER_KEY.")
    parser.add_argument("url")
    parser.add_argument("--method")
    parser.add_argument("--body")
    parser.add_argument("--header", action="append", default=[], metavar="K:V")
    parser.add_argument("--any-asset", action="store_true", help="pay in any asset, without the SDK's one-dollar cap")
    words = parser.parse_args()

    headers = {}
    for header in words.header:
        name, colon, value = header.partition(":")
        if not name.strip() or not colon:
            raise ValueError("--header needs NAME:VALUE")
        headers[name.strip()] = value.strip()
    # The key comes from the environment because every process on the machine can read a command line.
    key = os.environ.get("PAYER_KEY")
    if not key:
        raise ValueError("PAYER_KEY is not set; it is the payer's private key, 0x and 64 hex digits")
    return Command(
        url=words.url,
        method=words.method or ("GET" if words.body is None else "POST"),
        body=None if words.body is None else words.body.encode(),
        headers=headers,
        account=Account.from_key(key),
        any_asset=words.any_asset,
    )


def with_payer(client, command: Command):
    """Makes `client`, of either colour, pay from the command's account."""
    register_exact_evm_client(client, command.account)
    # By default the SDK pays only each chain's own USDC and at most one dollar.
    if command.any_asset:
        client.set_spend_controls(False)
    return client


def read_receipt(headers: dict[str, str]):
    """The receipt as the SDK reads it. One that it refuses goes to stderr and counts as none."""
    header = headers.get("payment-response") or headers.get("x-payment-response")
    if header is None:
        return None
    try:
        return decode_payment_response_header(header).model_dump(by_alias=True, exclude_none=True)
    except Exception as error:  # Whatever the SDK raises, the HTTP answer still counts.
        print(f"receipt header is refused by the SDK: {error}", file=sys.stderr)
        return None


def print_answer(status: int, body: str, headers) -> None:
    lower = {name.lower(): value for name, value in headers.items()}
    answer = {"status": status, "body": body, "headers": lower, "receipt": read_receipt(lower)}
    print(json.dumps(answer, separators=(",", ":")))


def run(pay) -> None:
    """Any HTTP answer, a 402 too, is exit 0; everything else is exit 1 with the error on stderr."""
    try:
        pay(read_command())
    except SystemExit as stop:
        sys.exit(1 if stop.code else 0)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
