"""What is counted and how: entries and their codec, totals, histograms, intervals, rollup ranges, windows. No I/O."""
