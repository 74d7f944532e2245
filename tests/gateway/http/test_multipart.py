"""The multipart reader, fed at every split."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, PayloadTooLarge
from gateway.http.multipart import (
    MAX_PART_HEADER_BYTES,
    MAX_PREAMBLE_BYTES,
    MultipartParser,
    PartBegan,
    PartEnded,
    boundary_of,
)

Part = tuple[str, str, str, bytes]


def encoded(parts: Sequence[Part], boundary: bytes = b"B") -> bytes:
    body = b""
    for field, filename, content_type, content in parts:
        head = f'Content-Disposition: form-data; name="{field}"; filename="{filename}"\r\n'
        body += b"--" + boundary + b"\r\n" + head.encode() + f"Content-Type: {content_type}\r\n\r\n".encode()
        body += content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


def decoded(pieces: Sequence[bytes], boundary: bytes = b"B", max_parts: int = 100) -> list[Part]:
    parser = MultipartParser(boundary, max_parts)
    parts: list[Part] = []
    head, content = None, b""
    for piece in pieces:
        for event in parser.feed(piece):
            match event:
                case PartBegan():
                    head, content = event, b""
                case PartEnded():
                    assert head is not None
                    parts.append((head.field, head.filename, head.content_type, content))
                    head = None
                case _:
                    assert event, "no empty pieces"
                    content += event
    parser.finish()
    return parts


@given(
    st.lists(st.sampled_from([b"", b"\r\n", b"--B", b"\r\n--", b"\r\n--A", b"\r", b"x" * 50, b"\r\n\r\n"]), max_size=6),
    st.lists(st.integers(1, 60), max_size=20),
)
def test_any_split_gives_the_same_parts(content: list[bytes], splits: list[int]) -> None:
    """Whatever the pieces in which it arrives, and however much a content looks like a boundary, it comes out whole."""
    data = b"".join(content).replace(b"\r\n--B", b"")
    if data.startswith(b"--B"):
        data = b"." + data  # after the empty line that ends the headers this is a boundary
    parts = [("a", "a.png", "image/png", data), ("b", "b.png", "image/png", b"second"), ("c", "", "", b"")]
    body = encoded(parts)
    pieces, start = [], 0
    for size in splits:
        pieces.append(body[start : start + size])
        start += size
    assert decoded([piece for piece in [*pieces, body[start:]] if piece]) == parts


def test_every_split_in_two_gives_the_same_parts() -> None:
    """Wherever a body is cut in two, also inside a boundary, its parts are the same."""
    parts = [("a", "a.png", "image/png", b"\r\n--\r\nfirst\r\n"), ("b", "", "", b""), ("c", "", "", b"third")]
    body = encoded(parts)
    for cut in range(1, len(body)):
        assert decoded([body[:cut], body[cut:]]) == parts


@given(st.binary(max_size=200), st.integers(1, 20))
def test_any_bytes_give_parts_or_one_named_error(data: bytes, size: int) -> None:
    """Nonsense is a BadRequest or too many parts, and never another exception."""
    with contextlib.suppress(BadRequest, PayloadTooLarge):
        decoded([data[start : start + size] for start in range(0, len(data), size)], max_parts=3)


def test_takes_a_preamble_an_epilogue_and_padding() -> None:
    """What RFC 2046 allows around the parts is skipped."""
    body = b"hello\r\n--B \t\r\n\r\ndata\r\n--B--\r\nbye bye"
    assert decoded([body]) == [("", "", "", b"data")]


def test_takes_a_part_without_any_line_between_head_and_boundary() -> None:
    """An empty part whose boundary follows its headers at once is empty."""
    assert decoded([b"--B\r\nX: y\r\n\r\n--B--"]) == [("", "", "", b"")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--B\r\n\r\ndata",
        b"--B\r\n\r\ndata\r\n--B",
        b"--B\r\nX: y",
        b"no boundary at all",
        b"--Bx\r\n\r\nd\r\n--B--",
    ],
)
def test_refuses_what_does_not_end(body: bytes) -> None:
    """A body without its last boundary is a bad request."""
    with pytest.raises(BadRequest):
        decoded([body] if body else [])


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (MAX_PREAMBLE_BYTES + 10),
        b"--B" + b" " * (MAX_PREAMBLE_BYTES + 10),
        b"--B\r\nX: " + b"y" * (MAX_PART_HEADER_BYTES + 10),
        b"--B\r\nX: " + b"y" * (MAX_PART_HEADER_BYTES + 10) + b"\r\n\r\n",
    ],
)
def test_holds_no_more_than_its_bounds(body: bytes) -> None:
    """Text before the first boundary, after one, and a part's headers are bounded while they arrive."""
    with pytest.raises(BadRequest, match=r"does not begin|line break|over"):
        for _ in MultipartParser(b"B", 10).feed(body):
            pass


def test_counts_parts() -> None:
    """The part after the last allowed one is refused when it begins."""
    parts = [("f", "f", "", b"x")] * 3
    assert len(decoded([encoded(parts)], max_parts=3)) == 3
    with pytest.raises(PayloadTooLarge):
        decoded([encoded(parts)], max_parts=2)


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b"', b"a b"),
        ("multipart/form-data; BOUNDARY=----WebKitFormBoundary7MA4", b"----WebKitFormBoundary7MA4"),
    ],
)
def test_finds_the_boundary(header: str, boundary: bytes) -> None:
    """The boundary parameter is read quoted or bare."""
    assert boundary_of(header) == boundary


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary=", "a; boundary=\u00e9"])
def test_refuses_a_missing_boundary(header: str) -> None:
    """Without a boundary there is nothing to read by."""
    with pytest.raises(BadRequest):
        boundary_of(header)


@pytest.mark.parametrize(
    ("disposition", "field", "filename"),
    [
        ('form-data; name="a"; filename="b.jpg"', "a", "b.jpg"),
        ('form-data; filename="b.jpg"; name="a"', "a", "b.jpg"),
        ("form-data; name=a", "a", ""),
        (r'form-data; name="a\"b\\c"; filename="x;y.jpg"', r'a"b\c', "x;y.jpg"),
        ('form-data; name="naïve"', "naïve", ""),
        ("form-data", "", ""),
        ("", "", ""),
    ],
)
def test_reads_names(disposition: str, field: str, filename: str) -> None:
    """Field and file names come out as curl and browsers put them in."""
    head = f"Content-Disposition: {disposition}\r\n".encode()
    assert decoded([b"--B\r\n" + head + b"\r\nx\r\n--B--"]) == [(field, filename, "", b"x")]
