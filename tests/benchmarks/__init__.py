"""How fast, and in how much memory: `make bench`, or `python -m tests.benchmarks SUBJECT`."""
