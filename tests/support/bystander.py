"""Somebody else's requests, one after the other for as long as others misbehave: each must be answered."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from types import TracebackType

from demo.stack import Stack

PAUSE_S = 0.01


class Bystander:
    """Sends small pictures to a model on one connection, and never tries one again."""

    def __init__(self, stack: Stack, model: str = "echo") -> None:
        self.answered = 0
        self.problems: list[str] = []
        self._stack = stack
        self._path = f"/inference/{model}"
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Bystander:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._thread.join()

    def check(self) -> None:
        """Fails unless every request was answered, and one more is now."""
        goal, deadline = self.answered + 2, time.monotonic() + 30
        while self.answered < goal and not self.problems and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
        assert self.problems == []
        assert self.answered >= goal, "the bystander's request is not answered"

    def _run(self) -> None:
        context = ssl.create_default_context(cafile=self._stack.credentials.ca)
        connection = http.client.HTTPSConnection("localhost", self._stack.port, context=context, timeout=30)
        token = self._stack.credentials.client_token.read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
        try:
            while not self._is_over and not self.problems:
                connection.request("POST", self._path, b"picture", headers)
                response = connection.getresponse()
                body = response.read()
                if response.status == 200:
                    self.answered += 1
                else:
                    self.problems.append(f"{response.status}: {body.decode(errors='replace')}")
                time.sleep(PAUSE_S)
        except (OSError, http.client.HTTPException) as error:
            self.problems.append(repr(error))
        finally:
            connection.close()
