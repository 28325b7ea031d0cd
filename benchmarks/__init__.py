"""One script per claim, each with a public peer in the same run; results lie in ``benchmarks/results``."""
