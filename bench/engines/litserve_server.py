"""The same engine behind LitServe, as its documentation has it: an API server, and a process for each network.

LitServe is no part of this project's environment: whoever wants the comparison installs it, as
docs/reference/bench-engines.md says.
"""

import json
from pathlib import Path

import litserve  # type: ignore[import-not-found]  # as above
from fastapi import Request, Response  # type: ignore[import-not-found]  # as above

from bench.engines.loop import engine_flags
from bench.engines.pool import Pool


class ImageApi(litserve.LitAPI):  # type: ignore[misc]
    """A form with one file; LitServe's own way to send an image."""

    def __init__(self, model: str, model_dirs: list[Path], threads: int) -> None:
        super().__init__()
        self._engine = model, model_dirs, threads
        self._pool: Pool

    def setup(self, device: str) -> None:
        """In each process."""
        model, model_dirs, threads = self._engine
        self._pool = Pool(model, model_dirs, 1, threads)

    def decode_request(self, request: Request) -> bytes:
        """LitServe looks at the annotation, so it is no text here: a form comes as its fields."""
        return bytes(request["image"].file.read())

    def predict(self, image: bytes) -> object:
        return json.loads(self._pool.answer(image))

    def encode_response(self, output: object) -> Response:
        return output


def main() -> None:
    """Serves until it is killed."""
    flags = engine_flags("python -m bench.engines.litserve_server").parse_args()
    api = ImageApi(flags.model, flags.model_dir, flags.threads)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=flags.slots)
    server.run(host="127.0.0.1", port=flags.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
