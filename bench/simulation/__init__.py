"""Discrete-event simulation of dispatch: the gateway's own `Core` and policies, over workers that are arithmetic.

    scenario.py    what is simulated: a fleet, its load, what goes wrong; the jobs, drawn once from a seed
    worker.py      SimWorker: slots, a first-come queue, stalls; the Link that the core is given
    engine.py      simulate(scenario, policy) -> Outcome: events in order, the core asked after each
    audit.py       the promises that are checked after every event
    ideal.py       the ideal central queue for the same jobs: for equal workers the best there is
    baselines.py   a policy that only exists for comparison
    balancers.py   several balancers that do not know of each other, as nginx's processes are
    outcome.py     what a run gives: times, counts, quantiles
    studies.py     the runs behind docs/explanation/dispatch-simulation.md
    page.py, pictures.py    that page

Nothing here has a clock or waits; the same seed gives the same numbers on every machine.
"""
