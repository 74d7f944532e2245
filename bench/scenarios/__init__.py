"""Scenarios: questions of their own, each answered by one or more runs of the measuring tool.

    python -m bench.scenarios NAME [flags]        the names are those of registry.py

    __main__.py      the program: flags -> Study -> Findings -> tables and files
    scenario.py      what a scenario is: Scenario, Findings, Grid; the flags that they share
    registry.py      the table of all
    study.py         Study: makes runs, keeps and writes each of them as soon as it is over. Step: one of them
    plans.py         settings of one run: poisson(), closed(), at_once(), at_offsets()
    hosts.py         a gateway and echo workers of this machine, for scenarios that start their own

Each scenario is one file with a `measure`, which makes runs, and a `findings`, which is pure: steps in, numbers out. So
what a scenario concludes is tested on paper, and a run that was ended early still has its findings.
"""
