"""The program `cheblienet.experiments.search_mnist`."""

from cheblienet.experiments.run import run

if __name__ == "__main__":
    run("search_mnist")
