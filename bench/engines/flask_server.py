"""The same engine as a Flask app, the way Flask starts one itself: one process, a thread a connection, plain HTTP."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.serving import make_server

from bench.engines.loop import engine_flags
from bench.engines.pool import Pool


def main() -> None:
    """Serves until it is killed."""
    flags = engine_flags("python -m bench.engines.flask_server").parse_args()
    pool = Pool(flags.model, flags.model_dir, flags.slots, flags.threads)
    app = Flask(__name__)

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    def predict() -> Response:
        return Response(pool.answer(request.get_data()), mimetype="application/json")

    make_server("127.0.0.1", flags.port, app, threaded=True).serve_forever()


if __name__ == "__main__":
    main()
