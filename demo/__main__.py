"""`python -m demo [--once]`: shows one picture's way through a gateway and two workers, then stays up.

Prints what a newcomer needs: the label, where the time went, and the line to type for a picture of one's own.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from demo.stack import REPOSITORY, Stack, StackError, port_is_free

MODEL = "digits"
SAMPLE = "edge_worker/models/digits/samples/digit-7.png"
WORKERS = ("worker-1", "worker-2")
PORT = 8443
ADMIN_PORT = 9443
DIRECTORY = REPOSITORY / ".demo"
STAGES = {
    "auth": "the token is checked",
    "upload": "the picture arrives at the gateway",
    "queue": "waits for a worker",
    "tunnel_out": "to the worker, through its tunnel",
    "worker_queue": "waits for a slot of the worker; to its engine and back",
    "decode": "PNG to pixels",
    "preprocess": "pixels to the network's input",
    "batch_wait": "waits for others to share a batch with",
    "inference": "the network",
    "postprocess": "probabilities to labels",
    "tunnel_back": "back to the gateway",
    "total": "all of it, at the gateway",
}


def main() -> int:
    """The program. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="A gateway, two workers, one picture.")
    parser.add_argument("--once", action="store_true", help="stop after one picture")
    parser.add_argument(
        "--directory", type=Path, default=DIRECTORY, metavar="DIR", help="for keys, tokens and logs (default: .demo)"
    )
    flags = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with Stack(flags.directory) as stack:
            _start(stack)
            _show_one(stack)
            if not flags.once:
                _stay(stack)
    except KeyboardInterrupt:
        print("\nstopped; nothing is left running")
    except StackError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _start(stack: Stack) -> None:
    began = time.monotonic()
    print(f"making a development CA, keys and tokens in {_shown(stack.directory)}")
    stack.credentials.make()
    print("starting a gateway and two OpenCV workers")
    _start_gateway(stack)
    for name in WORKERS:
        stack.start_worker(name, "--backend", "opencv_dnn")
    stack.wait_ready(MODEL, len(WORKERS))
    print(f"ready after {time.monotonic() - began:.1f} s\n")


def _start_gateway(stack: Stack) -> None:
    """On the usual ports, or on any where one of them is taken, also in the moment between the look and the start."""
    if _are_free():
        try:
            stack.start_gateway(PORT, ADMIN__PORT=ADMIN_PORT)
        except StackError:
            if _are_free():
                raise
        else:
            return
    print(f"port {PORT} or {ADMIN_PORT} is taken: using others")
    stack.start_gateway()


def _are_free() -> bool:
    return port_is_free(PORT) and port_is_free(ADMIN_PORT)


def _show_one(stack: Stack) -> None:
    picture = (REPOSITORY / SAMPLE).read_bytes()
    headers = {"Content-Type": "image/png"}
    stack.request("POST", f"/inference/{MODEL}", picture, headers)  # the first one pays for connections and caches
    status, answer_headers, body = stack.request("POST", f"/inference/{MODEL}", picture, headers)
    if status != 200:
        raise StackError(f"the gateway answered {status}: {body.decode(errors='replace')}")
    answer = json.loads(body)
    best = answer["predictions"][0]
    print(f"{SAMPLE} is a {best['label']} with probability {best['probability']:.4f}, says {answer['worker']}\n")
    print("where the time went, in milliseconds:")
    for name, milliseconds in _stages(answer_headers):
        print(f"  {milliseconds:8.3f}  {name:13} {STAGES.get(name, '')}")
    files = _shown(stack.directory)
    print(f"""
a picture of your own:
  curl --cacert {files}/ca.pem -H "Authorization: Bearer $(cat {files}/client.token)" \\
       -H 'Content-Type: image/png' --data-binary @{SAMPLE} \\
       {stack.url}/inference/{MODEL}
""")


def _stages(headers: Mapping[str, str]) -> list[tuple[str, float]]:
    """The names and milliseconds of a Server-Timing header."""
    entries = (entry.strip().partition(";dur=") for entry in headers["Server-Timing"].split(","))
    return [(name, float(milliseconds)) for name, has_duration, milliseconds in entries if has_duration]


def _shown(directory: Path) -> Path:
    """As short as it can be from where `make demo` was typed."""
    return directory.relative_to(REPOSITORY) if directory.is_relative_to(REPOSITORY) else directory


def _stay(stack: Stack) -> None:
    logs = _shown(stack.directory) / "*.log"
    print(f"workers and metrics: http://localhost:{stack.admin_port}/workers and /metrics. Logs: {logs}")
    print("Ctrl-C stops everything")
    gone: set[str] = set()
    while stack.gateway.is_running:
        time.sleep(0.5)
        for name, worker in stack.workers.items():
            if not worker.is_running and name not in gone:
                gone.add(name)
                print(f"{name} has ended; the others go on")
    raise StackError(f"the gateway ended; see {stack.gateway.log}")


sys.exit(main())
