"""The program `cheblienet.experiments.mnist`."""

from cheblienet.experiments.mnist import main
from cheblienet.experiments.summary import exit_with

if __name__ == "__main__":
    exit_with(main)
