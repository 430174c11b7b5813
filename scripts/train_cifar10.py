"""The program `cheblienet.experiments.cifar10`."""

from cheblienet.experiments.cifar10 import main
from cheblienet.experiments.summary import exit_with

if __name__ == "__main__":
    exit_with(main)
