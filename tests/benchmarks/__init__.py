"""`make bench`: what the product takes, as ratios against floors measured in the same run.

A measurement is a function in any module of this package, found by itself:

    from tests.benchmarks.protocol import Bench, Pair, Skipped, ratio

    @ratio("neuron page", subject="a neuron's page, from its second visit on", floor="the emptiest page", at_most=4.0)
    def neuron_page(bench: Bench) -> Iterator[Pair]:
        client = Client()                                # whatever it needs, made before the yield
        yield Pair(floor=lambda: client.get("/empty/"), subject=lambda: client.get(bench.neuron_url()))
        ...                                              # and tidied up behind it

The harness calls floor and subject by turns, each as often as makes some 100 ms, and reports the median of the
rounds' ratios, their quartiles, the ratio of this process's CPU time, and whether the target is met. A callable that
returns `Taken(seconds)` is believed instead of timed: for work in other processes, or where only a part of the call
counts. `at_least` in place of `at_most` is for what should be high, such as the throughput of two workers over one.

`@figure(name, what=..., unit=..., at_most=...)` is for what has no floor, such as bytes or a 95th percentile; its
function returns the values of its repetitions, or one.

`raise Skipped("no torch: pip install -e '.[models]'")` says why a measurement cannot be made here. Any other exception
is a failure: it is shown, the other measurements go on, and the command's exit status is 1.

`on="databases"` (which is the default) runs a measurement on SQLite and on PostgreSQL, each in a process of its own
whose `default` database holds the synthetic model of `full_size`: read it, and write only what you take back.
`on="nothing"` is for what needs no database. `bench.empty_database()` gives the address of a fresh one of the same
kind, to be filled by commands in processes of their own. `bench.is_quick` is true in `make bench-quick`: take little
data and few repetitions there, since all of it together takes two minutes.

Importing this package sets Django up, so modules import the product at their top. Import torch inside functions.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "neuronviewer.settings")
django.setup()
