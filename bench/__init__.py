"""The study of latency, jitter and throughput: what is measured, how, and which file does it.

Definitions are those of docs/reference/bench.md. Nothing in the repository imports bench; bench imports what is public.

    bench/test.py      the program: flags -> Settings -> Outcome -> table and files
    bench/between.py   link_to(target, network): a relay before what is measured, for as long as a run
    bench/keeping.py   Keeper: writes part by part, elsewhere where the disk is full
    bench/start.py     how programs begin and end: Ctrl-C while libraries load, a reader that leaves, a full disk
    bench/terminal.py  what programs print to
    bench/flags.py     parser(), settings_of(): text -> Settings. Other programs add their own flags
    bench/session.py   measure(settings, console, command) -> Outcome(run, summarize): first request, run, Ctrl-C
    bench/compare.py   the program for two results; bench/comparison.py: results -> sides -> comparison, warnings
    bench/ab.py        --ab: two systems in one run
    bench/example.py   the run behind docs/explanation/example-report.md, with all that it needs
    bench/errors.py    BenchError: everything a person at the keyboard can put right

    bench/load/        makes the requests. Knows nothing of percentiles
      sample.py        Sample (one request), Samples (a run's, by column), Recorder (Sample -> Samples, flat memory).
                       The schema is a contract: files, measures and pictures are made from it
      arrivals.py      pure generators of intended offsets (ns), and the rule of warm-up
      clock.py         Clock: now_ns() and wait_until_ns(). SystemClock is good to some 50 us; tests bring a virtual one
      target.py        Target: address, CA, token, pictures. All that is wrong with them is said before the run
      transport.py     Transport: `await send(sample, deadline_ns)` fills it in, never raises. aiohttp's door
      arms.py          Order and ArmTransport: which of two systems a request goes to, and who is its partner
      loop.py          run_loop(): uvloop where there is one. `python -m bench.load` measures the generator itself
      generator.py     Plan + Transport + Clock -> Run. Open loop: the schedule is kept when late

    bench/measure/     pure: arrays in, numbers out. Knows neither sockets nor terminals
      percentiles.py   nearest rank, its distribution-free interval, "n too small"; block bootstrap
      jitter.py        RFC 3550 J, IPDV, PDV, deviation, MAD
      anatomy.py       where the time went, by percentile, with what is left over
      rates.py         send lag and the verdict, offered and achieved, Little's law, errors by reason
      environment.py   the machine, the versions, the commit, the command without its secrets
      compare.py       ratios of two sides with intervals, and verdicts
      summary.py       summarize(run, ...) -> the object of summary.json (schema: docs/reference/bench.md)

    bench/report/      shows a summary and samples
      table.py         the table at the end       live.py  progress      files.py  write_result(), read_result()
      ratios.py        the table of a comparison
      html.py          write_report(): report.html of a run       pair.py  that of a comparison
      result.py        show() and document() of either kind; python -m bench.report makes them again
      figures.py       pictures over time       curves.py  of distributions       bars.py  of parts, workers, ratios
      svg.py           matplotlib's door: small SVG in the page's colours
      page.py          where text becomes HTML, with style.css

    bench/scenarios/   questions that take several runs: python -m bench.scenarios NAME
    bench/peers/       what the gateway is compared with, started by the scenarios
    bench/network/     a network between two ends, as a process: python bench/wan.py, network()
    bench/classification/   labels for a folder of pictures, and how many are right: python bench/client.py
    bench/simulation/  dispatch in simulated time, with the gateway's own core: python bench/sim.py

A comparison, a scenario or a picture takes `Run`, `Samples` and a summary, and gives its own; none reaches further in.
Which arm of a comparison a request belongs to is `Sample.label`, which a Transport sets.
"""
