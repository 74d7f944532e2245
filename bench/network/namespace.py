"""Network namespaces of threads, and TUN devices in them: a piece of Linux's own network that nobody else sees.

Needs root. Nothing is named and nothing is left: a namespace lives as long as its thread and the files that belong to
it, so it is gone with this process, however that ends. No command is run and no device of the machine is touched.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from bench.errors import BenchError

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
SIOCSIFADDR, SIOCSIFFLAGS, SIOCSIFDSTADDR, SIOCSIFTXQLEN = 0x8916, 0x8914, 0x8918, 0x8943
IFF_UP, IFF_RUNNING = 0x1, 0x40
TUN = "/dev/net/tun"
DEVICE = b"tun0"
TX_QUEUE_PACKETS = 1000
"""What the kernel keeps before we read: a queue of ours comes after it, so it only has to bridge a late turn."""

T = TypeVar("T")


class NoPackets(BenchError):
    """This machine does not let us; the text says what failed."""


class Namespace:
    """One namespace, its thread, and a TUN device with an address in it. Use as a context manager."""

    def __init__(self, address: str, peer: str) -> None:
        self.address = address
        self._peer = peer
        self._thread = ThreadPoolExecutor(max_workers=1)  # it stays where it once went, and so does all that it makes
        self.tun = -1
        """The device's other side: one read or write is one IP packet. Does not block."""

    def __enter__(self) -> Namespace:
        """Raises NoPackets."""
        check_possible()
        try:
            self.tun = self.run(self._enter)
        except OSError as error:
            self._thread.shutdown()
            raise NoPackets(f"no namespace with a TUN device: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.tun)
        self._thread.shutdown()

    def run(self, work: Callable[[], T]) -> T:
        """Does something short inside: a socket that is made there stays there, whoever uses it."""
        return self._thread.submit(work).result()

    def _enter(self) -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):  # os.unshare is there from Python 3.12 on
            raise OSError(ctypes.get_errno(), "unshare")
        tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", DEVICE, IFF_TUN | IFF_NO_PI))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                for request, address in ((SIOCSIFADDR, self.address), (SIOCSIFDSTADDR, self._peer)):
                    fcntl.ioctl(control, request, _with_address(address))
                fcntl.ioctl(control, SIOCSIFTXQLEN, struct.pack("16si20x", DEVICE, TX_QUEUE_PACKETS))
                fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", DEVICE, IFF_UP | IFF_RUNNING))
        except OSError:
            os.close(tun)
            raise
        return tun


def check_possible() -> None:
    """Raises NoPackets with the reason where packets cannot be had."""
    if sys.platform != "linux":
        raise NoPackets(f"packets need Linux's TUN devices and namespaces; this is {sys.platform}")
    if os.geteuid() != 0:
        raise NoPackets("packets need root: only it may make network namespaces")
    if not os.path.exists(TUN):
        raise NoPackets(f"packets need {TUN}, which is not there (modprobe tun)")


def _with_address(address: str) -> bytes:
    """struct ifreq with a sockaddr_in (netdevice(7))."""
    return struct.pack("16sHH4s16x", DEVICE, socket.AF_INET, 0, socket.inet_aton(address))
