"""An old server, as people have one: a few lines of Flask that know of no gateway. `python -m tests.support.flask_app`.

Its port stands in the first line that it prints.
"""

from __future__ import annotations

import hashlib

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "hello"


@app.post("/classify")
def classify() -> Response:
    """A photograph in, JSON out."""
    picture = request.get_data()
    return jsonify(bytes=len(picture), sha256=hashlib.sha256(picture).hexdigest(), type=request.content_type)


@app.route("/seen/<path:rest>", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
def seen(rest: str) -> Response:
    """What arrived."""
    return jsonify(
        method=request.method,
        path=rest,
        raw=request.environ["RAW_URI"],
        headers=list(request.headers.items()),
        url=request.url,
    )


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.port, flush=True)
    server.serve_forever()
