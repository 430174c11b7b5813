"""The program `cheblienet.experiments.search_cifar10`."""

from cheblienet.experiments.search_cifar10 import main
from cheblienet.experiments.summary import plain_errors

if __name__ == "__main__":
    with plain_errors():
        main()
