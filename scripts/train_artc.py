"""The program `cheblienet.experiments.artc`."""

from cheblienet.experiments.artc import main
from cheblienet.experiments.summary import exit_with

if __name__ == "__main__":
    exit_with(main)
