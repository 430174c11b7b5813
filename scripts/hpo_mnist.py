"""The program `cheblienet.experiments.search_mnist`."""

from cheblienet.experiments.search_mnist import main
from cheblienet.experiments.summary import plain_errors

if __name__ == "__main__":
    with plain_errors():
        main()
