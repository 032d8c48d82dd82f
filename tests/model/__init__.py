"""The protocol as a small state machine, explored over every order of its steps and faults.

A *world* is what all processes, Redis and SQL hold at a moment, reduced to what decides: an entry is a number, a set of
entries the bits of a whole number, live totals are counts by function. A *transition* is one step of a process or one
fault. `explore` looks at every world that can be reached, in order of the number of steps, and from each one lets all
come to rest. `python -m tests.model --help` explores as far as one likes.

What is left out: entries that bring no number, the ledger's expiry, times (a lease may end at any moment), buckets,
sums and extremes, and the spelling of the messages. The random schedules of `tests/integration/test_schedules.py` have
these, on the shipped scripts.
"""
