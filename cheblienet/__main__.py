"""`python -m cheblienet`: what was built and what it runs on."""

from . import build_info


def main() -> None:
    for name, value in build_info().items():
        print(f"{name + ':':20}{value}")


if __name__ == "__main__":
    main()
