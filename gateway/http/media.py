"""Which Content-Types the native API takes."""

from __future__ import annotations

MULTIPART = "multipart/form-data"
IMAGE_LIKE = frozenset(("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded"))
"""Besides image/*: no type at all, unnamed bytes, and what `curl --data-binary` says when it is told nothing."""


def media_type_of(content_type: str) -> str:
    """The type without its parameters, in lower case; empty where the header is missing."""
    return content_type.partition(";")[0].strip().lower()


def is_image_like(media_type: str) -> bool:
    """Whether a body of this type may be an image. The worker decides by the bytes; this refuses what cannot be one."""
    return media_type.startswith("image/") or media_type in IMAGE_LIKE
