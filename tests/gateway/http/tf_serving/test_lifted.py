"""Long base64 texts are taken out of JSON, and nothing else is."""

from __future__ import annotations

import json

import pytest

from gateway.http.tf_serving.lifted import LEAST_BYTES, lift

LONG = "A" * LEAST_BYTES


@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_takes_out_long_texts(space: str) -> None:
    """Each long value of `b64` is found whatever stands between it and its key; the rest of the JSON stays as it is."""
    body = f'{{"instances": [{{"b64"{space}:{space}"{LONG}"}}, {{"b64": "{LONG}B"}}], "more": 7}}'.encode()
    smaller, lifted = lift(body)
    document = json.loads(smaller)
    names = [one["b64"] for one in document["instances"]]
    assert [bytes(lifted[name]).decode() for name in names] == [LONG, f"{LONG}B"]
    assert document["more"] == 7
    assert len(smaller) < 300


@pytest.mark.parametrize(
    "document",
    [
        {"b64": "short"},
        {"other": LONG},
        {'x"b64': LONG},
        {"b64": LONG + "\n"},
        {"text": f'"b64": "{LONG}"'},
        {"b64": [LONG]},
        {"b64": 7, "then": LONG},
    ],
)
def test_leaves_everything_else(document: dict[str, object]) -> None:
    """Short texts, other keys, texts with escapes, and texts that only look like it are the JSON reader's."""
    body = json.dumps(document).encode()
    assert lift(body) == (body, {})


def test_leaves_a_text_without_end() -> None:
    """What breaks off is refused by the reader of JSON, with its own words."""
    body = f'{{"b64": "{LONG}'.encode()
    assert lift(body) == (body, {})
