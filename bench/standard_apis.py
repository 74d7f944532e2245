"""What a standard API costs the gateway beside its own: CPU time a request, the same image, in turns, as ratios.

    .venv/bin/python -m bench.standard_apis [--requests 200] [--rounds 15] [--bytes 100000]

Starts a gateway and one worker with the digits, and sends the same image through each API over one kept connection.
The rounds change the order, so that a busy machine disturbs all alike; what is reported is the median of the rounds'
ratios to the native API. CPU time is that of all the gateway's threads as the kernel counts it, in nanoseconds.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import ssl
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import start

if __name__ == "__main__":
    start.loading()

from bench import terminal
from bench.errors import BenchError
from bench.flags import count
from bench.scenarios.hosts import local_stack
from demo.stack import REPOSITORY, Stack

SAMPLE = REPOSITORY / "edge_worker" / "models" / "digits" / "samples" / "digit-3.png"
HEADER_LENGTH = "Inference-Header-Content-Length"
NATIVE = "native"
GOOD, BAD_INPUT, INTERRUPTED = 0, 2, 130
"""Exit status."""


class Question(NamedTuple):
    """One API's request for the same image."""

    path: str
    body: bytes
    headers: Mapping[str, str]


def questions(image: bytes) -> dict[str, Question]:
    """By the API's name; the native one first."""
    size = len(image)
    given = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size + 4}}
    data = size.to_bytes(4, "little") + image
    infer = "/v2/models/digits/infer"
    encoded = {"b64": base64.b64encode(image).decode()}
    wanted = [{"name": "probabilities", "parameters": {"classification": 5}}]
    return {
        NATIVE: Question("/inference/digits", image, {"Content-Type": "image/png"}),
        "v2, bare image": Question(infer, image, {HEADER_LENGTH: "0"}),
        "v2, binary both ways": _binary(infer, {"inputs": [given], "parameters": {"binary_data_output": True}}, data),
        "v2, answer in JSON": _binary(infer, {"inputs": [given]}, data),
        "v2, five classes": _binary(infer, {"inputs": [given], "outputs": wanted}, data),
        "TorchServe": Question("/predictions/digits", image, {}),
        "TF Serving predict": Question("/v1/models/digits:predict", json.dumps({"instances": [encoded]}).encode(), {}),
        "TF Serving classify": Question(
            "/v1/models/digits:classify", json.dumps({"examples": [{"image": encoded}]}).encode(), {}
        ),
    }


def _binary(path: str, document: Mapping[str, object], data: bytes) -> Question:
    head = json.dumps(document, separators=(",", ":")).encode()
    return Question(path, head + data, {HEADER_LENGTH: str(len(head))})


class Client:
    """One kept HTTPS connection to a stack's gateway, and the gateway's CPU time."""

    def __init__(self, stack: Stack) -> None:
        context = ssl.create_default_context(cafile=stack.credentials.ca)
        self._connection = http.client.HTTPSConnection("localhost", stack.port, context=context, timeout=60)
        self._token = stack.credentials.client_token.read_text().strip()
        self._tasks = Path(f"/proc/{stack.gateway.popen.pid}/task")

    def ask(self, question: Question) -> None:
        """One request. Raises BenchError for a refusal."""
        headers = {"Authorization": f"Bearer {self._token}", **question.headers}
        self._connection.request("POST", question.path, question.body, headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise BenchError(f"{question.path} was answered {answer.status}: {body[:500]!r}")

    def cpu_us(self, question: Question, requests: int) -> float:
        """The gateway's microseconds of CPU for one request, on average."""
        before = self._cpu_ns()
        for _ in range(requests):
            self.ask(question)
        return (self._cpu_ns() - before) / requests / 1e3

    def _cpu_ns(self) -> int:
        """Of all threads (Documentation/scheduler/sched-stats.rst: the first number is nanoseconds on a CPU)."""
        return sum(int((task / "schedstat").read_text().split()[0]) for task in self._tasks.iterdir())


def measure(client: Client, asked: Mapping[str, Question], requests: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds by API, one number a round."""
    names = list(asked)
    for question in asked.values():
        client.cpu_us(question, requests)  # warm: connections, caches, the estimate of the worker's speed
    costs: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            costs[name].append(client.cpu_us(asked[name], requests))
    return costs


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for each API. Returns the exit status."""
    flags = _parser().parse_args(arguments)
    image = SAMPLE.read_bytes().ljust(flags.bytes, b"\0")
    try:
        with local_stack(has_request_log=False) as stack:
            stack.start_worker("worker-1")
            stack.wait_ready("digits", 1)
            costs = measure(Client(stack), questions(image), flags.requests, flags.rounds)
    except BenchError as error:
        terminal.errors().print(f"standard_apis: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        terminal.errors().print("standard_apis: interrupted")
        return INTERRUPTED
    _show(costs, flags)
    return GOOD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.standard_apis", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--requests", type=count, default=200, metavar="N", help="of each API in a round (default: 200)"
    )
    parser.add_argument("--rounds", type=count, default=15, metavar="N", help="default: 15")
    parser.add_argument(
        "--bytes", type=count, default=100_000, metavar="N", help="of the image, padded to so many (default: 100000)"
    )
    return parser


def _show(costs: Mapping[str, Sequence[float]], flags: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    print(
        f"{flags.rounds} rounds of {flags.requests} requests, {flags.bytes} bytes; "
        f"{os.cpu_count()} cores, load {load:.1f}"
    )
    for name, costs_us in costs.items():
        ratios = sorted(cost / native for cost, native in zip(costs_us, costs[NATIVE], strict=True))
        middle, low, high = statistics.median(ratios), ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        print(f"{name:22} {statistics.median(costs_us):7.0f} us   {middle:.3f} of native ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    sys.exit(start.run(main))
