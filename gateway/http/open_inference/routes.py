"""Which path of the Open Inference Protocol is whose."""

from __future__ import annotations

from aiohttp import web

from gateway.http.intake import Intake, leave_expectation
from gateway.http.model_facts import Models
from gateway.http.open_inference.infer import Infer
from gateway.http.open_inference.views import OpenInferenceViews

MODEL = "/v2/models/{model}"
VERSION = f"{MODEL}/versions/{{version}}"


def add_open_inference(router: web.UrlDispatcher, intake: Intake, models: Models) -> None:
    """Adds every route under /v2."""
    infer, views = Infer(intake, models), OpenInferenceViews(intake, models)
    router.add_get("/v2", views.server)
    router.add_get("/v2/health/live", views.live)
    router.add_get("/v2/health/ready", views.ready)
    router.add_get("/v2/models/stats", views.statistics)
    for model in (MODEL, VERSION):
        router.add_post(f"{model}/infer", infer.handle, expect_handler=leave_expectation)
        router.add_get(model, views.metadata)
        router.add_get(f"{model}/ready", views.model_ready)
        router.add_get(f"{model}/config", views.config)
        router.add_get(f"{model}/stats", views.model_statistics)
    router.add_post("/v2/repository/index", views.index)
    router.add_post("/v2/repository/models/{model}/load", views.load)
    router.add_post("/v2/repository/models/{model}/unload", views.unload)
