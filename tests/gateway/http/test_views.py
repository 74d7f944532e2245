"""What can be asked about the gateway itself, in public and on the operator's listener."""

from __future__ import annotations

import aiohttp
from aiohttp import web

from gateway.config import Config
from gateway.http.errors import STATUS_BY_ERROR
from gateway.http.openapi import openapi_document
from gateway.http.routes import build_admin_app, build_app
from gateway.http.server import serve
from gateway.metrics import Metrics
from tests.support.http_gateway import ADMIN_TOKEN, FakeAuthenticator, FakeDispatcher, serving


async def tunnel(_request: web.Request, _address: str) -> web.StreamResponse:
    raise AssertionError


def routes(app: web.Application) -> set[tuple[str, str]]:
    """(method, path) of everything that is served; HEAD comes with every GET. What a route of all methods leads to is a
    server's own business, which OpenAPI has no words for."""
    return {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "*")
    }


def test_openapi_matches_what_is_served() -> None:
    """Every route is in the document and every operation of the document is a route, with and without the tunnel."""
    for has_tunnel in (True, False):
        app = build_app(
            FakeDispatcher(), FakeAuthenticator(), Metrics(), Config(), tunnel=tunnel if has_tunnel else None
        )
        document = openapi_document(has_tunnel=has_tunnel)
        described = {(method, path) for path, item in document["paths"].items() for method in item}
        assert described == routes(app)


def test_openapi_names_every_status_of_the_table() -> None:
    """Each status that an inference can be answered with is in the document."""
    described = set(openapi_document(has_tunnel=False)["paths"]["/inference/{model}"]["post"]["responses"])
    sent = {str(entry.status) for entry in STATUS_BY_ERROR.values() if entry.status != 499}
    assert described == sent | {"200", "417", "431", "500"}


def test_openapi_refers_to_schemas_that_it_has() -> None:
    """Every reference of the document leads somewhere inside it, and no schema is left over."""
    document = openapi_document(has_tunnel=True)
    seen: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                seen.add(value["$ref"].removeprefix("#/components/schemas/"))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)
    assert seen == set(document["components"]["schemas"])


async def test_serves_its_document_and_health_without_a_token() -> None:
    """/openapi.json, /healthz and /readyz need no token; balancers may ask with HEAD."""
    async with serving(FakeDispatcher()) as served, aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as anyone:
        async with anyone.get("/openapi.json") as answer:
            assert (await answer.json())["openapi"] == "3.1.0"
        async with anyone.get("/healthz") as answer:
            assert await answer.json() == {"status": "ok"}
        async with anyone.head("/readyz") as answer:
            assert answer.status == 200
        async with anyone.get("/readyz") as answer:
            assert await answer.json() == {"status": "ready", "workers": 1, "models": {"digits": 2}}


async def test_is_ready_without_workers_and_not_while_it_drains() -> None:
    """/readyz is 200 without any worker, so that a balancer lets workers in, and 503 while no new work is taken."""
    dispatcher = FakeDispatcher(models={})
    async with serving(dispatcher) as served:
        async with served.session.get("/readyz") as answer:
            assert answer.status == 200
        dispatcher.is_draining = True
        async with served.session.get("/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["status"] == "draining"
        async with served.session.get("/healthz") as answer:
            assert answer.status == 200


async def test_shows_workers_without_their_addresses() -> None:
    """Whoever has a token sees names, models, readiness and round trips, and nothing else of a worker."""
    async with serving(FakeDispatcher()) as served, served.session.get("/v1/workers") as answer:
        model = {"model": "digits", "version": "1", "state": "ready"}
        worker = {"worker": "w1", "rtt_ms": 20.5, "draining": False, "models": [model]}
        assert await answer.json() == {"workers": [worker]}


async def test_shows_an_operator_everything() -> None:
    """With the scope admin, the public listener has the view of the operator's, where few can get to."""
    dispatcher, headers = FakeDispatcher(), {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with serving(dispatcher) as served, served.session.get("/v1/workers", headers=headers) as answer:
        assert await answer.json() == {"workers": dispatcher.workers_view()}


async def test_the_admin_listener_shows_everything() -> None:
    """The operator sees the whole view of each worker, the metrics with the fleet's gauges, and what else there is."""
    dispatcher, metrics, config = FakeDispatcher(), Metrics(), Config()
    build_app(dispatcher, FakeAuthenticator(), metrics, config)
    metrics.failures.add("bad_input")
    server = await serve(
        build_admin_app(dispatcher, metrics, config), "127.0.0.1", 0, limits=config.limits, metrics=metrics, grace_s=0
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            async with session.get("/workers") as answer:
                assert (await answer.json())["workers"][0]["about"] == {"address": "192.0.2.9"}
            async with session.get("/metrics") as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                lines = (await answer.text()).splitlines()
            async with session.get("/healthz") as answer:
                assert answer.status == 200
            async with session.get("/openapi.json") as answer:  # of the public listener
                assert answer.status == 404
                offer = "there are /metrics, /workers and /healthz"
                assert (await answer.json())["detail"] == f"there is nothing at '/openapi.json'; {offer}"
    finally:
        await server.close()
    assert 'gateway_request_failures_total{reason="bad_input"} 1.0' in lines
    assert 'gateway_request_failures_total{reason="slow_body"} 0.0' in lines
    assert 'gateway_worker_round_trip_seconds{worker="w1"} 0.0205' in lines
    assert 'gateway_worker_models{model="digits",state="ready",worker="w1"} 1.0' in lines
    assert 'gateway_model_ready_workers{model="digits"} 2.0' in lines
    assert 'gateway_model_queued_jobs{model="digits"} 6.0' in lines
    assert "gateway_jobs_in_flight 3.0" in lines
    assert "gateway_draining 0.0" in lines
    assert "gateway_workers 1.0" in lines
