"""The FastAPI middleware of PyPI x402, unmodified."""

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from x402 import x402ResourceServer
from x402.http import HTTPFacilitatorClient
from x402.http.middleware.fastapi import PaymentMiddlewareASGI
from x402.mechanisms.evm.exact import ExactEvmServerScheme

from common import BODY, NETWORK, ROUTES, facilitator, listener, ran

server = x402ResourceServer(HTTPFacilitatorClient(facilitator()))
server.register(NETWORK, ExactEvmServerScheme())
app = FastAPI()
app.add_middleware(PaymentMiddlewareASGI, routes=ROUTES, server=server)


@app.get("/paid")
async def paid() -> PlainTextResponse:
    ran()
    return PlainTextResponse(BODY)


sock = listener()
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[sock])
