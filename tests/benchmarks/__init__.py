"""What metrics cost, as ratios to a named reference: `python -m tests.benchmarks`."""
