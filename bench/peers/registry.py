"""All systems, in the order of the table: without a tunnel, the peers before either server, this project."""

from __future__ import annotations

from bench.peers.chisel import Chisel
from bench.peers.frp import Frp
from bench.peers.haproxy import Haproxy
from bench.peers.piko import Piko
from bench.peers.rathole import Rathole
from bench.peers.same_worker import SameWorker
from bench.peers.server_mode import Direct, NginxOverWorkers
from bench.peers.ssh import Ssh
from bench.peers.system import System
from bench.peers.this_project import EchoBackend, HttpBackend

TUNNELS: tuple[System, ...] = (Ssh(), Haproxy(), Frp(), Chisel(), Rathole(), Piko())
SYSTEMS: tuple[System, ...] = (
    Direct(),
    NginxOverWorkers(),
    *TUNNELS,
    *map(SameWorker, TUNNELS),
    EchoBackend(),
    HttpBackend(),
)
