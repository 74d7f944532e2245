"""The network between a worker and its gateway, and between a client and its gateway, as real processes.

Times are compared within one run only: what a path adds to a direct one is at least what its profile says. How little
the relay adds by itself is printed by its self-test, and asserted nowhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.network.namespace import NoPackets, check_possible
from bench.network.process import RunningNetwork, network
from bench.network.profile import PROFILES, Jitter, Profile, Way
from demo.stack import Stack

ROOT = Path(__file__).parents[2]
SLOW = Profile("slow", Way(0.020, 20e6, 0.1), Way(0.020, 20e6, 0.1))
"""40 ms there and back, 20 Mbit/s, nothing by chance."""
LOSSY = replace(SLOW, up=replace(SLOW.up, loss=0.05), down=replace(SLOW.down, loss=0.05))


@contextmanager
def echo_server() -> Iterator[int]:
    """Gives back what it gets; its port. Threads, so that a test may block."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(end: socket.socket) -> None:
        with end:
            try:
                while data := end.recv(1 << 16):
                    end.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                end, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(end,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def round_trip_s(end: socket.socket, size: int = 100) -> float:
    began = time.monotonic()
    body = os.urandom(size)
    sender = threading.Thread(target=end.sendall, args=(body,))
    sender.start()
    came = bytearray()
    while len(came) < size:
        came += end.recv(1 << 16)
    sender.join()
    assert came == body
    return time.monotonic() - began


def through(profile: Profile, work: Callable[[int], None], *options: str) -> RunningNetwork:
    """Runs some blocking work with the relay's port, to an echo server; what the relay said at its end."""

    async def run() -> RunningNetwork:
        with echo_server() as port:
            async with network(profile, seed=1, to=("127.0.0.1", port), options=options) as link:
                await asyncio.to_thread(work, link.port)
        return link

    return asyncio.run(run())


@pytest.fixture
def packets() -> None:
    """Skips by name where packets cannot be had."""
    try:
        check_possible()
    except NoPackets as error:
        pytest.skip(f"no packet-level network: {error}")


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def small_and_large(port: int) -> None:
    """A connection costs a round trip more than what follows on it; a megabyte takes its time at 20 Mbit/s."""
    began = time.monotonic()
    with connected(port) as end:
        round_trip_s(end)
        assert time.monotonic() - began >= 0.080
        assert min(round_trip_s(end) for _ in range(5)) >= 0.040
        assert round_trip_s(end, 1_000_000) >= 0.4


def test_a_relay_adds_delay_and_limits_the_rate() -> None:
    """Through 40 ms and 20 Mbit/s nothing is faster than that, and everything arrives."""
    report = through(SLOW, small_and_large).report
    assert report["connections"] == 1
    assert report["up"]["bytes"] >= 1_000_000
    assert report["down"]["late_us"]["p50"] is not None


def test_packets_add_delay_and_limit_the_rate(packets: None) -> None:
    """The same between two namespaces, where the kernel's TCP sees the slow link."""
    report = through(SLOW, small_and_large, "--packets").report
    assert report["up"]["pieces"] > 600
    assert report["up"]["lost"] == 0


def test_packets_are_lost_and_tcp_repeats_them(packets: None) -> None:
    """With 5 % lost each way everything still arrives."""

    def work(port: int) -> None:
        with connected(port) as end:
            round_trip_s(end, 300_000)

    report = through(LOSSY, work, "--packets").report
    assert report["up"]["lost"] > 0
    assert report["down"]["lost"] > 0


def test_a_full_queue_drops_packets(packets: None) -> None:
    """A sender that starts faster than a short queue drains loses packets to it, and is answered all the same."""
    short = replace(SLOW, up=replace(SLOW.up, rate_bits_s=5e6, queue_s=0.005))

    def work(port: int) -> None:
        with connected(port) as end:
            round_trip_s(end, 500_000)

    report = through(short, work, "--packets").report
    assert report["up"]["overflowed"] > 0
    assert report["up"]["lost"] == 0


def send_until_it_breaks(port: int) -> None:
    with connected(port) as end:
        while True:
            end.sendall(b"x")
            end.recv(1)


def test_connections_are_reset() -> None:
    """A mean life of 50 ms resets a connection, and the caller sees a reset."""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        through(replace(SLOW, reset_every_s=0.05), send_until_it_breaks)


def test_connections_over_packets_are_reset(packets: None) -> None:
    """The same where packets cross the link."""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        through(replace(SLOW, reset_every_s=0.05), send_until_it_breaks, "--packets")


def test_a_worker_serves_through_lte(new_stack: Callable[[str], Stack]) -> None:
    """A worker that dials through the relay is ready and answers; its tunnel's ways take their delay."""
    stack = new_stack("wan-worker")
    stack.start_gateway()

    async def run() -> RunningNetwork:
        async with network(PROFILES["lte"], seed=1, to=("localhost", stack.port)) as link:
            stack.start_worker("worker-1", "--backend", "echo", gateway=f"wss://localhost:{link.port}")
            await asyncio.to_thread(stack.wait_ready, "echo", 1)
            began = time.monotonic()
            status, _, body = await asyncio.to_thread(stack.request, "POST", "/inference/echo", b"x" * 1000)
            taken_s = time.monotonic() - began
            assert (status, json.loads(body)["bytes"]) == (200, 1000)
            assert taken_s >= 0.060
            stack.workers["worker-1"].stop()
        return link

    assert asyncio.run(run()).report["connections"] == 1


def test_a_worker_comes_back_after_resets(new_stack: Callable[[str], Stack], wait_until: Callable[..., float]) -> None:
    """A tunnel that the network resets again and again is dialled anew."""
    stack = new_stack("wan-resets")
    stack.start_gateway()

    async def run() -> RunningNetwork:
        profile = Profile("resets", Way(0.001), Way(0.001), reset_every_s=1.0)
        async with network(profile, seed=1, to=("localhost", stack.port)) as link:
            worker = stack.start_worker("worker-1", "--backend", "echo", gateway=f"wss://localhost:{link.port}")
            await asyncio.to_thread(wait_until, lambda: len(worker.events("connected")) >= 3, "a third connection")
            worker.stop()
        return link

    assert asyncio.run(run()).report["resets"] >= 2


def test_the_command_line_says_where_it_listens_and_what_it_did() -> None:
    """Started as a person would: the first line, a connection, SIGTERM, the report, status 0."""
    with echo_server() as port:
        command = [sys.executable, "bench/wan.py", "--listen", "0", "--to", f"localhost:{port}", "--profile", "lan"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as relay:
            assert relay.stdout is not None
            listens = relay.stdout.readline().split(" -> ")[0]
            with connected(int(listens.rpartition(":")[2])) as end:
                round_trip_s(end)
            relay.send_signal(signal.SIGTERM)
            said = relay.stdout.read()
    assert relay.returncode == 0
    assert "1 connections, 0 refused, 0 reset" in said
    assert "late by itself p50" in said


def test_the_self_test_measures_four_paths() -> None:
    """Direct, a relay that adds nothing, the rule and the profile, in one run; the profile's trips take its delay."""
    command = [sys.executable, "-m", "bench.wan", "--self-test", "--json", "--profile", "lan"]
    command += ["--delay-ms", "1", "--jitter-ms", "0", "--rate-mbit", "20"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    trips = said["round_trip_ms"]
    assert list(trips)[:2] == ["direct connection", "relay that adds nothing"]
    assert trips["lan, by its rule"]["p50"] >= 2
    assert trips["lan, measured"]["p50"] >= trips["lan, by its rule"]["p50"]
    assert said["bulk_bits_s"] <= 22e6


def test_a_relay_that_cannot_start_says_why() -> None:
    """A port that is taken: the program's message, as a BenchError."""

    async def start(*options: str) -> None:
        async with network(PROFILES["lan"], seed=1, to=("127.0.0.1", 9), options=options):
            raise AssertionError("it started")

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BenchError, match="cannot listen"):
        asyncio.run(start("--listen", str(taken.getsockname()[1])))


def test_nothing_is_left_of_a_relay_that_is_killed(packets: None) -> None:
    """SIGKILL in the middle of a transfer: its namespaces and devices are gone with it."""

    def namespaces() -> set[int]:
        found = set()
        for link in Path("/proc").glob("[0-9]*/task/[0-9]*/ns/net"):
            try:
                found.add(link.stat().st_ino)
            except OSError:
                continue
        return found

    with echo_server() as port:
        command = [sys.executable, "-m", "bench.wan", "--to", f"127.0.0.1:{port}", "--packets", "--json"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as relay:
            assert relay.stdout is not None
            listens = json.loads(relay.stdout.readline())["port"]
            with connected(listens) as end:
                end.sendall(bytes(1000))
                inside = {link.stat().st_ino for link in Path(f"/proc/{relay.pid}/task").glob("[0-9]*/ns/net")} - {
                    Path("/proc/self/ns/net").stat().st_ino
                }
                assert len(inside) == 2
                relay.kill()
    assert not inside & namespaces()


def test_jitter_shows() -> None:
    """Of twenty round trips through a jitter of 20 ms each way the longest takes well over the shortest."""
    profile = replace(PROFILES["direct"], up=Way(jitter=Jitter("exponential", 0.020)))

    def work(port: int) -> None:
        with connected(port) as end:
            trips = sorted(round_trip_s(end) for _ in range(20))
        assert trips[-1] - trips[0] > 0.020

    through(profile, work)
