"""The program `cheblienet.experiments.cifar10`."""

from cheblienet.experiments.run import run

if __name__ == "__main__":
    run("cifar10")
