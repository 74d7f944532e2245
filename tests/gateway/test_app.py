"""The gateway as it is put together: what it says when it begins to serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.app import Gateway
from gateway.config import Config
from tests.support.certificates import made
from tests.support.credentials import Issuer


async def said(issuer: Issuer, listen: str, admin: Mapping[str, object], tls: Mapping[str, object]) -> list[str]:
    """The events of a start, warnings alone."""
    config = Config.model_validate(
        {
            "listen": {"host": listen, "port": 0},
            "admin": {"port": 0, **admin},
            "auth": {"jwks": issuer.directory.jwks_file},
            "tls": tls,
        }
    )
    with capture_logs() as logs:
        servers = await Gateway(config)._open()
    for server in servers:
        await server.close()
    return [line["event"] for line in logs if line["log_level"] == "warning"]


@pytest.mark.parametrize(("host", "warnings"), [("127.0.0.1", []), ("localhost", []), ("0.0.0.0", ["no encryption"])])
async def test_warns_where_tokens_would_be_read(host: str, warnings: list[str], tmp_path: Path) -> None:
    """Without a certificate, an address that others can reach is worth a warning, and loopback is not."""
    assert await said(Issuer(tmp_path / "keys"), host, {}, {}) == warnings


async def test_a_certificate_needs_no_warning(tmp_path: Path) -> None:
    """With TLS every address is fine."""
    pair = made(tmp_path / "certs") / "server"
    tls = {"certificate": f"{pair}.pem", "private_key": f"{pair}.key"}
    assert await said(Issuer(tmp_path / "keys"), "0.0.0.0", {}, tls) == []


@pytest.mark.parametrize(("enabled", "warnings"), [(True, ["no authentication"]), (False, [])])
async def test_warns_where_others_reach_the_admin_listener(enabled: bool, warnings: list[str], tmp_path: Path) -> None:
    """It asks for no token."""
    admin = {"host": "0.0.0.0", "enabled": enabled}
    assert await said(Issuer(tmp_path / "keys"), "127.0.0.1", admin, {}) == warnings
