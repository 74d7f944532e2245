"""`ssh -R` behind nginx: an sshd of our own, on loopback, with keys made for the run, and a client that dials it.

As ssh's manual has it, with the cipher that both choose. sshd forwards to a port beside nginx, which ends clients' TLS.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.peers.closed_loop import Address
from bench.peers.nginx import front, nginx_missing
from bench.peers.program import found, path_of, running, said
from bench.peers.system import PRIVATE, PUBLIC, Ground, Kind, Running, free_port, listens

SEPARATION = Path("/run/sshd")
"""Where sshd confines itself when root starts it; Debian's unit makes it as the service starts."""
SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host
AuthorizedKeysFile {directory}/client.pub
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding remote
ClientAliveInterval 15
"""
CLIENT = (
    *("-N", "-T", "-F", "none", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"),
    *("-o", "ServerAliveInterval=15", "-o", "StrictHostKeyChecking=yes"),
)


class Ssh:
    """The oldest of them."""

    name = "ssh"
    title = "ssh -R behind nginx"
    kind = Kind.TUNNEL

    def missing(self) -> str:
        """What to install."""
        if lacking := [name for name in ("ssh", "sshd", "ssh-keygen") if not found(name)]:
            return f"there is no {lacking[0]}: apt-get install openssh-client openssh-server"
        return nginx_missing()

    @contextlib.contextmanager
    def start(self, ground: Ground) -> Iterator[Running]:
        """As the protocol says."""
        directory, remote = ground.directory, free_port()
        _make_keys(directory)
        (directory / "sshd_config").write_text(SERVER.format(port=ground.tunnel_port, directory=directory))
        host_key = (directory / "host.pub").read_text()
        (directory / "known_hosts").write_text(f"[127.0.0.1]:{ground.dial_port} {host_key}")
        if os.geteuid() == 0:
            SEPARATION.mkdir(mode=0o755, exist_ok=True)
        server = [path_of("sshd"), "-D", "-e", "-f", str(directory / "sshd_config")]
        client = client_command(path_of("ssh"), ground, remote, getpass.getuser())
        with (
            running(server, directory / "sshd.log", lambda: listens(ground.tunnel_port)) as sshd,
            running(client, directory / "ssh.log", lambda: listens(remote)) as ssh,
            front(ground, remote) as (port, nginx),
        ):
            yield Running(Address(port), {PUBLIC: (nginx, sshd), PRIVATE: (ssh,)}, said(path_of("ssh"), "-V"))


def client_command(path: str, ground: Ground, remote: int, user: str) -> list[str]:
    """The private side's."""
    command = [path, *CLIENT, "-o", f"UserKnownHostsFile={ground.directory}/known_hosts"]
    command += ["-i", f"{ground.directory}/client", "-p", str(ground.dial_port)]
    return [*command, "-R", f"127.0.0.1:{remote}:127.0.0.1:{ground.upstream_port}", f"{user}@127.0.0.1"]


def _make_keys(directory: Path) -> None:
    for name in ("host", "client"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name)]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
