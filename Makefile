# Each target makes its own environment in .venv; needed are make and Python 3.11 or newer.
#
#   make demo    fit the built-in sample, write an isotropic volume, a picture, a score and a report to ./demo/
#   make test    check and test everything, windows included (under Xvfb where there is one)
#   make coverage  the tests, and which lines they run (make test prints that, too, from Python 3.12 on)
#   make lint    ruff and mypy alone
#   make docs    the documentation, as a folder of pages that opens offline: ./site/
#   make clean   remove what the targets above made
#
# Rarer, each with environments of its own beside .venv:
#
#   make test-lowest    the core's tests with the lowest versions that pyproject.toml allows
#   make test-pyside    the plugin's tests with PySide6 in place of PyQt6
#   make test-install   wheel and source archive in clean environments, with and without Qt
#
# On Linux the usual torch brings CUDA (gigabytes). For the small CPU build: make demo TORCH_INDEX=<the CPU index that
# torch's own installation page names>

VENV ?= .venv
TORCH_INDEX ?=
PYTEST_ARGS ?=
# Processes that share the tests; 0 runs them in one, as a debugger wants it.
TEST_PROCESSES ?= logical

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -qq -c constraints.txt

.PHONY: demo test coverage lint docs clean system-packages test-lowest test-pyside test-install
.DEFAULT_GOAL := demo

demo: $(VENV)/.ready-demo
	$(BIN)/python examples/demo.py --output demo

test: system-packages lint
	@sh scripts/run_with_screen.sh $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile \
		$$($(BIN)/python scripts/coverage_options.py) $(PYTEST_ARGS)

coverage: system-packages $(VENV)/.ready-test
	@sh scripts/run_with_screen.sh $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile \
		--cov --cov-report=term:skip-covered $(PYTEST_ARGS)

lint: $(VENV)/.ready-test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy --config-file benchmarks/mypy.ini benchmarks scripts

docs: $(VENV)/.ready-docs
	$(BIN)/python -m mkdocs build --strict

test-lowest: system-packages
	@sh scripts/test_lowest.sh $(VENV)-lowest $(PYTEST_ARGS)

test-pyside: system-packages
	@sh scripts/test_pyside.sh $(VENV)-pyside $(PYTEST_ARGS)

test-install: system-packages $(VENV)/.ready-test
	@PYTHON=$(BIN)/python sh scripts/test_install.sh $(VENV)-install

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-pyside $(VENV)-install demo site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Environments. A stamp per purpose: the demo needs no Qt, the documentation no test tools.
$(VENV)/.ready-demo: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing what the demo needs into $(VENV), once: some minutes"
	@$(INSTALL) -e ".[figures]"
	@touch $@

$(VENV)/.ready-test: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing what the tests need into $(VENV), once: some minutes"
	@$(INSTALL) -e ".[test,docs]"
	@touch $@

$(VENV)/.ready-docs: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing what the documentation needs into $(VENV), once: some minutes"
	@$(INSTALL) -e ".[docs]"
	@touch $@

$(VENV)/.made:
	@sh scripts/make_environment.sh $(VENV)
ifneq ($(TORCH_INDEX),)
	$(INSTALL) torch --index-url $(TORCH_INDEX)
endif
	@touch $@

system-packages:
	@sh scripts/system_packages.sh
