"""Checks receipts of pontage offline: python verify.py SIGNER FILE...

A file is what X-402-Receipt holds (base64) or GET /receipts/{id} answers (JSON). Prints one line for each; exits 1 if any is not valid.
Needs eth-keys and eth-hash, which come with eth-account.
"""

import base64
import json
import re
import sys

from eth_keys import keys


def once(members: list) -> dict:
    """Refuses two members with one name: the last would count, and a reader may see the first."""
    if len(dict(members)) != len(members):
        raise ValueError("a member is there twice")
    return dict(members)


def verify_receipt(text: str, signer: str) -> bool:
    try:
        text = text if text.lstrip().startswith("{") else base64.b64decode(text, validate=True)
        said = json.loads(text, object_pairs_hook=once)
        receipt, signature, key = said.pop("receipt"), said.pop("signature"), said.pop("server_public_key")
        # One text for each signature: digits in lower case, s in the lower half.
        if said.pop("status", "valid") != "valid" or said or not re.fullmatch("0x[0-9a-f]{64}[0-7][0-9a-f]{63}1[bc]", signature):
            return False
        # RFC 8785: members in order, no white space. Every number in a receipt is whole.
        canonical = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        raw = bytes.fromhex(signature[2:])
        signed = keys.Signature(raw[:64] + bytes([raw[64] - 27])).recover_public_key_from_msg(canonical)
        return f"0x04{signed.to_bytes().hex()}" == key and signed.to_checksum_address() == signer
    except Exception:  # whatever cannot be read is not valid
        return False


if __name__ == "__main__":
    valid = [(verify_receipt(open(file, encoding="utf-8").read(), sys.argv[1]), file) for file in sys.argv[2:]]
    print("\n".join(f"{'valid' if good else 'invalid'} {file}" for good, file in valid))
    sys.exit(0 if all(good for good, _ in valid) else 1)
