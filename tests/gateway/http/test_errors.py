"""THE table from failures to statuses, and the document of each."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.http.errors import STATUS_BY_ERROR, problem_of, problem_of_status


def every_error() -> set[type[errors.GatewayError]]:
    found = {value for value in vars(errors).values() if isinstance(value, type)}
    return {one for one in found if issubclass(one, errors.GatewayError) and one is not errors.GatewayError}


def test_the_table_is_complete() -> None:
    """Every class of gateway.errors has its row, and there is no row for anything else."""
    assert set(STATUS_BY_ERROR) == every_error()


def test_codes_are_unique() -> None:
    """A code names one class."""
    assert len({error.code for error in every_error()}) == len(every_error())


def test_a_subclass_is_answered_as_its_ancestor() -> None:
    """A class that only its raiser knows is answered like the class it refines."""

    class Refined(errors.NoWorker):
        pass

    assert problem_of(Refined("nobody")).status == 503


def test_the_base_class_is_an_internal_error() -> None:
    """An error of no listed class is a 500."""
    assert (problem_of(errors.GatewayError("odd")).status, problem_of(errors.GatewayError("odd")).code) == (
        500,
        "internal",
    )


@pytest.mark.parametrize(
    ("retry_after_s", "header"), [(None, "5"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2"), (30.0, "30")]
)
def test_retry_after_is_whole_seconds(retry_after_s: float | None, header: str) -> None:
    """Retry-After is rounded up to whole seconds, at least 1, and has the table's value where none is known."""
    error = errors.NoWorker("nobody", retry_after_s=retry_after_s)
    assert problem_of(error).headers["Retry-After"] == header


def test_statuses_unknown_to_the_library_are_problems_too() -> None:
    """A status without a name of its own still gives a whole document."""
    document = problem_of_status(299, "odd").document("id")
    assert document == {
        "type": "urn:edge-inference:error:http_error",
        "title": "HTTP error",
        "status": 299,
        "detail": "odd",
        "instance": "id",
        "code": "http_error",
        "error": "odd",
    }
