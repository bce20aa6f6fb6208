"""The Flask middleware of PyPI x402, unmodified, on the server that comes with Flask."""

from flask import Flask, Response
from werkzeug.serving import make_server
from x402 import x402ResourceServerSync
from x402.http import HTTPFacilitatorClientSync
from x402.http.middleware.flask import payment_middleware
from x402.mechanisms.evm.exact import ExactEvmServerScheme

from common import BODY, NETWORK, ROUTES, facilitator, listener, ran

server = x402ResourceServerSync(HTTPFacilitatorClientSync(facilitator()))
server.register(NETWORK, ExactEvmServerScheme())
app = Flask(__name__)
payment_middleware(app, ROUTES, server)


@app.get("/paid")
def paid() -> Response:
    ran()
    return Response(BODY, mimetype="text/plain")


sock = listener()
make_server("127.0.0.1", 0, app, threaded=True, fd=sock.fileno()).serve_forever()
