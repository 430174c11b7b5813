"""The program `cheblienet.experiments.artc`."""

from cheblienet.experiments.run import run

if __name__ == "__main__":
    run("artc")
