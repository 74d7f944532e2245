"""The three images, built and run: locked down, on credentials that only their user can read, and under load.

TensorFlow's image is built without CUDA's libraries (CUDA=0) and computes on the processor: there is no GPU here. The
base image is what BASE_IMAGE says; where no registry can be reached that is a stand-in for the official one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from demo.stack import REPOSITORY, Credentials, Stack
from tests.support.containers import LOCKED_DOWN, UID, Container, Engine, container_engine, owned
from tests.support.data import model_dir, photographs
from tests.support.firewall import Network, firewalled_network
from tests.support.load import Load

SAMPLES = REPOSITORY / "edge_worker/models/digits/samples"
SEVEN = SAMPLES / "digit-7.png"
WORKERS = {"server-opencv-dnn": "opencv_dnn", "server-tf-gpu": "tensorflow"}
NAME = "worker-1"
"""Of a worker that comes and goes beside those of the whole module."""
IN_FLIGHT = 16
DROPPED_AFTER_S = 3
"""How long a client waits for a connection that a firewall drops: a refusal would come at once."""

WaitUntil = Callable[..., float]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with closing(container_engine()) as engine:
        yield engine


@pytest.fixture(scope="module")
def site(credentials: Credentials, tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Path:
    """A folder with what the containers are given, readable by their user alone."""
    site = tmp_path_factory.mktemp("site")
    for file in (credentials.ca, credentials.certificate, credentials.private_key, credentials.keys / "jwks.json"):
        shutil.copy(file, site)
    for name in (*WORKERS, NAME):
        shutil.copy(credentials.worker_token(name), site)
    owned(site)
    return site


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start_gateway(engine: Engine, site: Path, network: str = "host", **settings: object) -> Container:
    settings = {"ADMIN__PORT": free_port(), **settings}
    return engine.start(
        "edge-gateway",
        network=network,
        mounts={site: "/etc/gateway"},
        GATEWAY_TLS__CERTIFICATE="/etc/gateway/server.pem",
        GATEWAY_TLS__PRIVATE_KEY="/etc/gateway/server.key",
        GATEWAY_AUTH__JWKS="/etc/gateway/jwks.json",
        **{f"GATEWAY_{name}": str(value) for name, value in settings.items()},
    )


def start_worker(
    engine: Engine, site: Path, image: str, gateway: str, *, name: str = "", network: str = "host", **settings: str
) -> Container:
    """Under the image's name, unless another is given."""
    name = name or image
    return engine.start(
        image,
        network=network,
        mounts={site: "/etc/worker", **({model_dir(): "/models"} if settings.get("MODEL_DIR") else {})},
        GATEWAY_URL=gateway,
        TOKEN_FILE=f"/etc/worker/{name}.token",
        CA_FILE="/etc/worker/ca.pem",
        WORKER_NAME=name,
        **settings,
    )


@pytest.fixture(scope="module")
def stack(engine: Engine, site: Path, credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """Its gateway is a container. Only what asks it over HTTP can be used."""
    stack = Stack(tmp_path_factory.mktemp("clients"))
    stack.credentials, stack.port = credentials, free_port()
    start_gateway(engine, site, LISTEN__HOST="127.0.0.1", LISTEN__PORT=stack.port).wait_healthy()
    return stack


@pytest.fixture(scope="module")
def workers(engine: Engine, site: Path, stack: Stack) -> dict[str, Container]:
    """One of each engine, with the embedded model alone."""
    url = f"wss://localhost:{stack.port}"
    started = {image: start_worker(engine, site, image, url, MODEL="digits") for image in WORKERS}
    for worker in started.values():
        worker.wait_healthy()
    return started


async def test_both_workers_answer(stack: Stack, workers: dict[str, Container]) -> None:
    """Each image has dialled out with its token, serves the model that is inside, and reads a seven."""
    async with Load(stack, "/inference/digits", SEVEN.read_bytes(), in_flight=IN_FLIGHT) as load:
        await load.wait_answers(100)
    assert load.statuses() == {200: len(load.outcomes)}, load.failures()[:3]
    read = {(outcome.worker, json.loads(outcome.text)["predictions"][0]["label"]) for outcome in load.outcomes}
    assert read == {(worker, "7") for worker in workers}


def test_they_are_locked_down(workers: dict[str, Container]) -> None:
    """Not root, no capability, no way to gain one, and nothing to write but /tmp."""
    for worker in workers.values():
        assert worker.exec("id", "-u").stdout.strip() == str(UID)
        status = dict(
            line.split(":\t") for line in worker.exec("cat", "/proc/1/status").stdout.splitlines() if ":\t" in line
        )
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert "Read-only file system" in worker.exec("touch", "/opt/venv/mine").stderr
        assert worker.exec("touch", "/tmp/mine").returncode == 0


@pytest.mark.parametrize("image", ["edge-gateway", *WORKERS])
def test_an_image_says_what_it_is(engine: Engine, image: str) -> None:
    """OCI labels with the version and the base, a health check, SIGTERM, and no user or shell to go through."""
    (found,) = json.loads(engine.run("image", "inspect", image).stdout)
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, value in found["Config"]["Labels"].items()
    }
    assert labels["title"] == image
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] in (REPOSITORY / "setup.cfg").read_text()
    assert labels["base.name"]
    assert labels["revision"] != "unknown"
    assert found["Config"]["User"] == f"{UID}:{UID}"
    assert found["Config"]["StopSignal"] == "SIGTERM"
    assert found["Config"]["Entrypoint"] in (["gateway"], ["edge-worker"])


def test_a_worker_is_healthy_while_its_tunnel_is_open(
    engine: Engine, site: Path, workers: dict[str, Container], wait_until: WaitUntil
) -> None:
    """HEALTHCHECK asks the worker itself: when its gateway goes it is not healthy, and says why."""
    port = free_port()
    gateway = start_gateway(engine, site, LISTEN__HOST="127.0.0.1", LISTEN__PORT=port)
    gateway.wait_healthy()
    worker = start_worker(engine, site, "server-opencv-dnn", f"wss://localhost:{port}", name=NAME)
    assert worker.wait_healthy() == "ready: digits; 1 of 1 tunnels open"
    gateway.stop()
    assert gateway.exit_status == 0
    wait_until(lambda: not worker.health()[0], "not healthy without a gateway")
    assert worker.health()[1] == f"no tunnel is open to wss://localhost:{port}/v1/tunnel"
    worker.stop()


async def test_a_worker_that_is_stopped_under_load_loses_nothing(stack: Stack, workers: dict[str, Container]) -> None:
    """SIGTERM reaches the worker as process 1: it finishes what it has, and the other takes the rest."""
    leaving, staying = "server-opencv-dnn", "server-tf-gpu"
    async with Load(stack, "/inference/digits", SEVEN.read_bytes(), in_flight=IN_FLIGHT) as load:
        await load.wait_answers(100)
        before = {outcome.worker for outcome in load.outcomes}
        await asyncio.to_thread(workers[leaving].stop)
        gone = len(load.outcomes)
        await load.wait_answers(100)
    assert load.statuses() == {200: len(load.outcomes)}, load.failures()[:3]
    assert before == {leaving, staying}
    assert {outcome.worker for outcome in load.outcomes[gone + IN_FLIGHT :]} == {staying}
    assert workers[leaving].exit_status == 0
    assert workers[leaving].events()[-2:] == ["draining", "stopped"]


@pytest.mark.parametrize("image", WORKERS)
def test_a_photograph_is_classified(engine: Engine, site: Path, stack: Stack, image: str) -> None:
    """With a folder of models mounted, MODEL serves the one that is named, and the label is the photograph's."""
    photograph = photographs()[0]
    worker = start_worker(
        engine, site, image, f"wss://localhost:{stack.port}", name=NAME, MODEL_DIR="/models", MODEL="mobilenet_v2"
    )
    assert worker.wait_healthy() == "ready: mobilenet_v2; 1 of 1 tunnels open"
    picture = photograph.path.read_bytes()
    status, _, body = stack.request("POST", "/inference/mobilenet_v2", picture, {"Content-Type": "image/jpeg"})
    assert status == 200, body
    assert json.loads(body)["predictions"][0]["index"] == photograph.model_index
    worker.stop()


@pytest.mark.parametrize("image", WORKERS)
def test_it_serves_on_a_port_too(engine: Engine, image: str) -> None:
    """`-p 8000:8000 ... serve` is the same image as an HTTP server, on a network of its own: it needs no gateway and no
    token, and its health is its models'."""
    port = free_port()
    worker = engine.start(image, "serve", publish=f"127.0.0.1:{port}:8000", LOG_FORMAT="json")
    assert worker.wait_healthy() == "ready: digits"
    answer = subprocess.run(
        ["curl", "-sS", "--data-binary", f"@{SEVEN}", "-H", "Content-Type: image/png", f"http://127.0.0.1:{port}/"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(answer.stdout)["predictions"][0]["label"] == "7"
    worker.stop()
    assert worker.exit_status == 0


def test_a_token_in_the_environment_goes_no_further(
    engine: Engine, credentials: Credentials, site: Path, stack: Stack
) -> None:
    """TOKEN works where a file is not to be had; it is in no line of the log."""
    token = credentials.worker_token(NAME).read_text().strip()
    worker = engine.start(
        "server-opencv-dnn", network="host", mounts={site: "/etc/worker"}, GATEWAY_URL=f"wss://localhost:{stack.port}",
        TOKEN=token, CA_FILE="/etc/worker/ca.pem", WORKER_NAME=NAME, LOG_LEVEL="debug",
    )  # fmt: skip
    worker.wait_healthy()
    assert token not in worker.output()
    worker.stop()


def test_the_image_says_what_it_lacks(engine: Engine) -> None:
    """`docker run` without anything tells what to give, and ends with status 2."""
    done = engine.run(
        "run", "--rm", "--network", "host", *LOCKED_DOWN, "--tmpfs", "/tmp", "server-opencv-dnn", check=False
    )
    assert done.returncode == 2
    assert "GATEWAY_URL" in done.stderr
    assert "TOKEN_FILE" in done.stderr


# --- behind a firewall ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(engine: Engine) -> Iterator[Network]:
    with firewalled_network() as network:
        yield network


@pytest.fixture
def behind_firewall(engine: Engine, network: Network, tmp_path: Path) -> tuple[Credentials, Container]:
    """A gateway on its host, and a worker behind the firewall that has dialled it."""
    credentials = Credentials(tmp_path / "credentials")
    make = [str(REPOSITORY / "certs/make.sh"), "--out", str(credentials.directory), network.address("gateway")]
    subprocess.run(["bash", *make], capture_output=True, check=True, timeout=60)
    credentials.make()
    site = tmp_path / "site"
    site.mkdir()
    for file in (credentials.ca, credentials.certificate, credentials.private_key, credentials.keys / "jwks.json"):
        shutil.copy(file, site)
    shutil.copy(credentials.worker_token("server-opencv-dnn"), site)
    owned(site)
    gateway = start_gateway(engine, site, network=f"ns:/run/netns/{network.namespace('gateway')}")
    gateway.wait_healthy()
    url = f"wss://{network.address('gateway')}:8443"
    inside = f"ns:/run/netns/{network.namespace('worker')}"
    worker = start_worker(engine, site, "server-opencv-dnn", url, network=inside)
    worker.wait_healthy()
    return credentials, worker


def test_nobody_can_dial_the_worker_and_it_answers_all_the_same(
    engine: Engine, network: Network, behind_firewall: tuple[Credentials, Container]
) -> None:
    """What listens beside the worker can be reached from its own host and from nowhere else, and yet a client's picture
    is classified there: the worker dialled out."""
    credentials, _ = behind_firewall
    inside = f"ns:/run/netns/{network.namespace('worker')}"
    engine.start("server-opencv-dnn", "serve", network=inside).wait_healthy()
    address = f"http://{network.address('worker')}:8000/readyz"
    dial = ["curl", "-sS", "-o", "/dev/null", "--connect-timeout", str(DROPPED_AFTER_S), address]
    assert network.run("worker", *dial).returncode == 0, "something listens there"
    for host in ("client", "gateway"):
        before = network.dropped()
        done = network.run(host, *dial)
        assert (done.returncode, "time" in done.stderr.lower()) == (28, True), f"{host}: {done.stderr}"
        assert network.dropped() > before

    token = credentials.client_token.read_text().strip()
    url = f"https://{network.address('gateway')}:8443/inference/digits"
    post = ["curl", "-sS", "--cacert", str(credentials.ca), "-H", f"Authorization: Bearer {token}"]
    done = network.run("client", *post, "-H", "Content-Type: image/png", "--data-binary", f"@{SEVEN}", url)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["worker"], answer["predictions"][0]["label"]) == ("server-opencv-dnn", "7")
