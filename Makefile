# Every target but gpu makes the environment it needs in .venv; PYTHON chooses the interpreter (3.10 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_FILES := pyproject.toml setup.py $(shell find csrc -type f)

.PHONY: demo test fuzz sanitize bench gpu lint format clean

demo: $(VENV)/.built
	$(BIN)/python scripts/demo.py

test: $(VENV)/.built
	$(BIN)/python -m pytest

# Twenty thousand calls and more with hostile input, drawn anew at every run; `make test` has some hundreds, always the same.
fuzz: $(VENV)/.built
	$(BIN)/python tests/fuzz

# The CPU kernels under ThreadSanitizer and under AddressSanitizer with UndefinedBehaviorSanitizer, without the framework;
# then the tests of operators and layers with a module that the latter two watch, in a package of its own. Python and the
# framework are not watched, and keep what they allocate until they end. The first report ends the run; faults made on
# purpose must end theirs. Left out: tests that compile programs, whose compilers would be watched as well.
SANITIZE := -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CUDA_COMPILER=NOTFOUND -DCHEBLIENET_PYTHON=$(CURDIR)/$(BIN)/python
WATCHED = LD_PRELOAD="$(foreach library,libasan libstdc++,$(shell $(CXX) -print-file-name=$(library).so))" \
  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=$(CURDIR)/build/address
sanitize: $(VENV)/.built
	$(BIN)/cmake -S . -B build/thread $(SANITIZE) -DCHEBLIENET_SANITIZE=thread
	$(BIN)/cmake --build build/thread --parallel --target test_threads
	build/thread/test_threads
	! build/thread/test_threads race 2> build/thread/race
	$(BIN)/cmake -S . -B build/address $(SANITIZE) -DCHEBLIENET_SANITIZE=address,undefined
	$(BIN)/cmake --build build/address --parallel --target test_threads extension
	ASAN_OPTIONS=detect_leaks=0 build/address/test_threads
	! build/address/test_threads bounds 2> build/address/bounds
	! build/address/test_threads overflow 2> build/address/overflow
	cd build/address && $(WATCHED) $(CURDIR)/$(BIN)/python -m pytest -c $(CURDIR)/pyproject.toml -p no:cacheprovider \
	  -k "not compile" $(CURDIR)/tests/ops $(CURDIR)/tests/nn/test_layers.py

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
