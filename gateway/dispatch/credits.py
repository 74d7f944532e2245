"""How many jobs a worker may hold at once, and how many of them it runs: counted anew after each change of a replica.

One that is near holds what it can run. One that is far is sent jobs ahead, or it would idle for a round trip after each
answer; every one of those is hurt if the worker stalls, so there are no more than the round trip needs.
"""

from __future__ import annotations

import math

from gateway.dispatch.replica import Replica

RUN_SPREADS = 2
"""Share by which a round trip may hold more jobs than its average, in spreads over service time. With 0 a distant
worker idles after every run of short jobs; from 3 on, jobs stand behind a long one that others could have done."""


def count_credits(replica: Replica, max_ahead: int) -> None:
    """Of a ready worker, from what is known of it now; `max_ahead`: most jobs sent ahead of free slots."""
    slots, service_s = replica.offer.slots, replica.service_s
    rtt_s = replica.rtt_s = replica.link.rtt_s
    replica.base_s = service_s + rtt_s
    most = slots
    if rtt_s:  # one more for each job that it could finish while an answer and the next job are on their way
        variation = replica.spread_s / service_s  # where jobs vary, short ones come in runs, and a few more are needed
        most += min(math.ceil(rtt_s / service_s * (1 + RUN_SPREADS * variation)), max_ahead)
    replica.most_credits = most
    replica.credits = min(slots if replica.is_service else replica.allowance, most)
    replica.width = min(slots, replica.credits)
