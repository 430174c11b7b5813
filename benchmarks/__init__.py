"""Side-by-side timings against what a user could pick instead. `python -m benchmarks --help`, or `make bench`."""
