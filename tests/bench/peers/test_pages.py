"""The pages about the comparison say what there is: flags, defaults, systems, members, configurations."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.peers import __main__ as program
from bench.peers import chisel, frp, haproxy, piko, rathole, ssh
from bench.peers.document import OURS
from bench.peers.nginx import Front
from bench.peers.registry import SYSTEMS
from bench.peers.slow_link import Slow
from bench.peers.system import Ground
from demo.stack import Credentials
from tests.support.peers_run import comparison, found_of

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = (DOCS / "reference" / "bench-peers.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "howto" / "compare-with-other-tunnels.md").read_text(encoding="utf-8")
FILES, DIRECTORY = Credentials(Path("/etc/tunnel")), Path("/var/lib/tunnel")
PUBLIC_PORT, TUNNEL_PORT, REMOTE_PORT, UPSTREAM_PORT = 443, 7000, 9000, 8000
GROUND = Ground(DIRECTORY, FILES, UPSTREAM_PORT, TUNNEL_PORT, TUNNEL_PORT)
WORDS = {
    "port": PUBLIC_PORT,
    "tunnel_port": TUNNEL_PORT,
    "dial_port": TUNNEL_PORT,
    "remote_port": REMOTE_PORT,
    "upstream_port": UPSTREAM_PORT,
    "directory": DIRECTORY,
    "certificate": FILES.certificate,
    "private_key": FILES.private_key,
    "ca": FILES.ca,
    "pem": DIRECTORY / "server.pem",
    "common": haproxy.COMMON,
    "endpoint": piko.ENDPOINT,
    "admin_port": 7001,
    "gossip_port": 7002,
    "agent_port": 7003,
}
CONFIGURATIONS = {
    "nginx": Front(
        DIRECTORY,
        PUBLIC_PORT,
        [REMOTE_PORT],
        FILES.certificate,
        FILES.private_key,
        access_log=f"{DIRECTORY}/access.log",
    ).configuration(),
    "sshd": ssh.SERVER.format(**{**WORDS, "port": TUNNEL_PORT}),
    "ssh": shlex.join(ssh.client_command("ssh", GROUND, REMOTE_PORT, "tunnel")) + "\n",
    "haproxy, public": haproxy.SERVER.format(**WORDS),
    "haproxy, private": haproxy.CLIENT.format(**WORDS),
    "frps": frp.SERVER.format(**WORDS),
    "frpc": frp.CLIENT.format(**WORDS),
    "chisel, public": shlex.join(chisel.server_command("chisel", GROUND)) + "\n",
    "chisel, private": shlex.join(chisel.client_command("chisel", GROUND, REMOTE_PORT)) + "\n",
    "rathole, public": rathole.SERVER.format(**WORDS),
    "rathole, private": rathole.CLIENT.format(**WORDS),
    "piko, public": piko.SERVER.format(**WORDS),
    "piko, private": piko.AGENT.format(**WORDS),
}
"""Every text that a peer is started with, at the ports and files that the page names."""


def rows(title: str) -> list[list[str]]:
    """The cells of a section's rows that begin with a name in backticks."""
    text = REFERENCE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("which", CONFIGURATIONS)
def test_the_page_shows_each_configuration(which: str) -> None:
    """As it is written for the run."""
    assert f"```\n{CONFIGURATIONS[which]}```\n" in HOW_TO


def test_each_peer_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine that has nothing, all but this project's own systems are skipped, each with its reason."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.peers.program.ALSO", ())
    skipped = {one.name: one.missing() for one in SYSTEMS if one.missing()}
    assert set(skipped) == {one.name for one in SYSTEMS} - {"direct", *OURS}
    assert all(why.startswith("there is no ") for why in skipped.values())
    assert all(f"| {name.removesuffix('+worker')}" in HOW_TO for name in skipped)


def test_each_system_is_described() -> None:
    """In the order of the table that is printed."""
    assert [names(row[0])[0] for row in rows("Systems")] == [one.name for one in SYSTEMS]


def test_each_flag_is_described_with_its_default() -> None:
    """No other is, and numbers are the parser's."""
    taken = {action.option_strings[-1]: action.default for action in program.parser()._actions if action.option_strings}
    described = {names(row[0])[0]: row[2] for row in rows("Flags")}
    assert set(described) == set(taken) - {"--help"}
    for flag, said in described.items():
        default = taken[flag]
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(said) == default, flag
        elif isinstance(default, list):
            assert said == " ".join(map(str, default)), flag


def test_each_status_is_described() -> None:
    """The exit statuses of the program."""
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)]
    assert numbers == [
        program.GOOD,
        program.BROKEN,
        program.BAD_INPUT,
        program.NOT_WRITTEN,
        program.INTERRUPTED,
    ]


def test_each_member_of_the_file_is_described() -> None:
    """At every depth."""
    document = comparison(found_of(), [Slow("echo", 1.0, 1.0, 1.0, 1.0, (1, 1), 1.0, 0)]).as_json()
    described = {name for row in rows("Files") for cell in row for name in names(cell)}
    members = set(document)
    for name in ("systems", "cells", "slow", "ratios", "bars"):
        members |= set(document[name][0])
    members |= set(document["cells"][0]["all"])
    assert members <= described
