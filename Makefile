# Every target but gpu makes the environment it needs in .venv; PYTHON chooses the interpreter (3.10 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_FILES := pyproject.toml setup.py $(shell find csrc -type f)

.PHONY: demo test bench gpu lint format clean

demo: $(VENV)/.built
	$(BIN)/python scripts/demo.py

test: $(VENV)/.built
	$(BIN)/python -m pytest

bench: $(VENV)/.built
	$(BIN)/python -m pip install --quiet -e ".[bench]" --no-build-isolation
	$(BIN)/python -m benchmarks

# On a machine with a GPU: PYTHON as it is, with torch and with this package, compiled in this clone or installed.
gpu:
	@$(PYTHON) -m benchmarks.gpu

lint: $(VENV)/.linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find csrc tests benchmarks -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format --dry-run --Werror

format: $(VENV)/.linters
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find csrc tests benchmarks -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format -i

clean:
	rm -rf $(VENV) build outputs cheblienet/*.so *.egg-info

# An interrupted installation leaves no stamp and is taken up again.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("cheblienet needs Python 3.10 or later, got " + sys.version) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "setuptools>=77" wheel ninja "torch>=2.11" torchvision
	touch $@

$(VENV)/.built: $(VENV)/.installed $(BUILD_FILES)
	$(BIN)/python -m pip install --quiet -e ".[test]" --no-build-isolation
	touch $@

$(VENV)/.linters: $(VENV)/.built
	$(BIN)/python -m pip install --quiet -e ".[lint]" --no-build-isolation
	touch $@
