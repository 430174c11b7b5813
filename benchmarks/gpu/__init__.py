"""Everything that a GPU can show, in one command: `make gpu`, or `python -m benchmarks.gpu` from the clone.

`parts.py` lists the parts: tests, memory and race checks, convolutions, the training step, graphs. `runner.py` runs each as a
process of its own under a limit of its own, so that none can take the results of another with it. `report.py` writes what
they left as Markdown and pictures.
"""
