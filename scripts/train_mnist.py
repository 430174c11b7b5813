"""The program `cheblienet.experiments.mnist`."""

from cheblienet.experiments.run import run

if __name__ == "__main__":
    run("mnist")
