"""The program `cheblienet.experiments.stl10`."""

from cheblienet.experiments.run import run

if __name__ == "__main__":
    run("stl10")
