"""What a backend is told when it is opened: values only, so that reading them loads no engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge_worker.backends.service_time import ServiceTime

DEFAULT_MAX_PIXELS = 64_000_000
"""Pixels: over what phones take at full resolution (50 million). Decoding so many takes 0.4 GB of memory for a slot, or
1 GB where they are of 16 bits with alpha. Browsers stop at 2 to 5 times that."""


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Every backend reads the fields that concern it."""

    slots: int = 1
    """Calls of one model that run at the same moment, 1 to 64. Each has its own network in memory."""
    threads: int = 0
    """Threads that one inference may use, 0 to 256; 0 divides the machine's cores among the slots."""
    model_dirs: tuple[Path, ...] = ()
    """Folders of model folders, or model folders."""
    models: tuple[str, ...] = ()
    """Of the models that are found, the ones to serve; empty: all. Echo has names of its own."""
    embedded: bool = True
    """Also serve the digit classifier that is shipped."""
    max_batch: int = 0
    """Pictures of the largest batch of every model; 1: no batching; 0: as each model's description says."""
    max_batch_wait_us: int = 0
    """Microseconds that the first of a batch waits for others while a network is free; goes with max_batch."""
    engine_limit_s: float = 10.0
    """Seconds that one piece of work may take on a thread of its model, over 0 to 3600: one picture from its bytes to
    its labels, or one batch. Past them the engine counts as hanging. A third of the time that gateways give a job by
    default, so that another worker has time to answer it."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """A picture of more pixels is refused from its header."""
    device: str = "auto"
    """Where tensorflow computes: auto (the first GPU, or the processor where there is none), cpu, or gpu:N."""
    require_gpu: bool = False
    """True: without a GPU tensorflow does not start, and says why."""
    xla: bool = False
    """True: tensorflow compiles each network for each size of batch."""
    mixed_precision: bool = False
    """True: tensorflow computes in float16 where a GPU is faster with it. The probabilities change a little."""
    echo_models: tuple[str, ...] = ("echo",)
    """The names under which echo answers."""
    echo_service_time: ServiceTime = field(default_factory=ServiceTime)
    """How long echo takes for a call; by default no time."""
    echo_busy: bool = False
    """True: echo keeps a core busy through its service time, on a thread of its own, rather than sleep."""
    echo_sha256: bool = False
    """True: the answer has the body's SHA-256; it costs a millisecond of the event loop a megabyte or so."""
    seed: int = 0
    """Of echo's random service times."""
