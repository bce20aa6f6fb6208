"""Pays one request with the httpx client of PyPI x402."""

import asyncio

from x402 import x402Client
from x402.http.clients import x402HttpxClient

from client import Command, print_answer, run, with_payer


async def pay(command: Command) -> None:
    # trust_env off: a proxy named in the environment must not see requests meant for loopback.
    async with x402HttpxClient(with_payer(x402Client(), command), trust_env=False, timeout=120) as http:
        answer = await http.request(command.method, command.url, content=command.body, headers=command.headers)
        print_answer(answer.status_code, answer.text, answer.headers)


run(lambda command: asyncio.run(pay(command)))
