# Two commands on a fresh machine with Python 3.10 or newer:  make demo   make test
.PHONY: demo test venv lint types docs cpp pytest clean
PY := .venv/bin/python
# What the targets need first; empty where it was made already.
VENV ?= venv
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Packages are installed without bytecode (see scripts/setup_venv.sh). What is imported is compiled once and kept here,
# not beside the sources: some tests compare folders of the checkout.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache

demo: ## phantom data, training, export, video, report: everything once, in demo/
	@scripts/setup_venv.sh cpu,train,export
	@.venv/bin/trocar demo --overwrite

test: venv ## lint, types, documentation, C++ build with CTest, every test
	@$(MAKE) --no-print-directory -j2 --output-sync=target VENV= lint types docs cpp
	@$(MAKE) --no-print-directory VENV= pytest

venv:
	@scripts/setup_venv.sh dev,rtx,openvino
	@scripts/system_packages.sh g++ make valgrind chromium || true

lint: $(VENV)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(VENV)
	@$(PY) -m mypy

docs: $(VENV) ## the site, into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

cpp: $(VENV)
	@scripts/system_packages.sh doxygen || true
	@scripts/system_packages.sh clang-19 libclang-rt-19-dev || true
	@scripts/system_packages.sh libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-tools gstreamer1.0-plugins-good || true
	@runtime/cpp/test.sh

# A worker process that dies fails the test that it runs (seen four times; where tests/conftest.py told how, by SIGSEGV in
# a test that was starting a program): what failed runs once more, alone. A wrong test fails again.
pytest: $(VENV)
	@scripts/system_packages.sh libopenigtlink-dev || true
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -q || \
		{ echo "The tests that failed, once more and alone:"; \
		OMP_NUM_THREADS=1 $(PY) -m pytest -q --last-failed --last-failed-no-failures none; }

clean:
	rm -rf .venv build dist demo site runtime/cpp/build*
