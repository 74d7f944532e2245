"""The policies by the names that configuration uses."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from gateway.dispatch.policies.base import Assign, Decision, Policy, Reject, Wait
from gateway.dispatch.policies.least_conn import LeastConn
from gateway.dispatch.policies.least_loaded import LeastLoaded
from gateway.dispatch.policies.pin import Pin
from gateway.dispatch.policies.power_of_two import PowerOfTwo
from gateway.dispatch.policies.random_choice import RandomChoice
from gateway.dispatch.policies.round_robin import RoundRobin

__all__ = ["POLICIES", "Assign", "Decision", "Policy", "Reject", "Wait", "make_policy"]

POLICIES: dict[str, Callable[[Random], Policy]] = {
    LeastLoaded.name: lambda rng: LeastLoaded(),
    LeastConn.name: lambda rng: LeastConn(),
    RoundRobin.name: lambda rng: RoundRobin(),
    RandomChoice.name: RandomChoice,
    PowerOfTwo.name: PowerOfTwo,
    Pin.name: lambda rng: Pin(),
}
"""Name -> what makes one. The generator is for those that draw."""


def make_policy(name: str, rng: Random) -> Policy:
    """The policy of this name. Raises ValueError, with the names there are, for any other."""
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; one of {', '.join(POLICIES)}")
    return POLICIES[name](rng)
