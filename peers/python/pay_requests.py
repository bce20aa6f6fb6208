"""Pays one request with the requests client of PyPI x402."""

from x402 import x402ClientSync
from x402.http.clients import x402_requests

from client import Command, print_answer, run, with_payer


def pay(command: Command) -> None:
    with x402_requests(with_payer(x402ClientSync(), command)) as http:
        # A proxy named in the environment must not see requests meant for loopback.
        http.trust_env = False
        answer = http.request(command.method, command.url, data=command.body, headers=command.headers, timeout=120)
        print_answer(answer.status_code, answer.text, answer.headers)


run(pay)
