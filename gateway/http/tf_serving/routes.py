"""Which path of TensorFlow Serving's API is whose. What follows /v1/models may be written in any case."""

from __future__ import annotations

import re

from aiohttp import web

from gateway.http.envelope import Handler
from gateway.http.intake import Intake, leave_expectation
from gateway.http.model_facts import Models
from gateway.http.tf_serving.predict import Predict
from gateway.http.tf_serving.views import TfServingViews

ROOT = "/v1/models"
TARGETS = (f"{ROOT}/{{model}}", f"{ROOT}/{{model}}/versions/{{version}}", f"{ROOT}/{{model}}/labels/{{label}}")


class AnyCaseResource(web.DynamicResource):
    """A path whose fixed words match in any case; the index finds it by ROOT, which does not."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        # A name ends where `:predict` begins.
        self._pattern = re.compile(self._pattern.pattern.replace(self.GOOD, "[^{}/:]+"), re.IGNORECASE)


def add_tf_serving(router: web.UrlDispatcher, intake: Intake, models: Models) -> None:
    """Adds every route under /v1/models."""
    predict, views = Predict(intake, models), TfServingViews(intake, models)

    def add(method: str, path: str, handler: Handler) -> None:
        resource = AnyCaseResource(path)
        router.register_resource(resource)
        resource.add_route(method, handler, expect_handler=leave_expectation if method == "POST" else None)

    router.add_get(ROOT, views.models)
    for target in TARGETS:
        add("POST", f"{target}:predict", predict.predict)
        add("POST", f"{target}:classify", predict.classify)
        add("GET", target, views.status)
        add("GET", f"{target}/metadata", views.metadata)
