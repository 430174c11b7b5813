"""The program `cheblienet.experiments.search_cifar10`."""

from cheblienet.experiments.run import run

if __name__ == "__main__":
    run("search_cifar10")
