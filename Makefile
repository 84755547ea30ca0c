# `make demo` and `make test` set themselves up; all they need is python3 with its venv module.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FIGURES := build/figures

.PHONY: demo test check unit bench lock clean

demo: $(VENV)/.runtime ## the main job, on the example corpus
	@$(BIN)/tierwise run jobs/examples/support.yaml

test: $(VENV)/.dev ## all tests; those of an absent service skip by name (and fail where CI=true)
	$(BIN)/python -m pytest

unit: $(VENV)/.dev ## the tests that need no service
	$(BIN)/python -m pytest tests/unit tests/property

check: $(VENV)/.dev ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## figures, printed and written to build/figures
	@mkdir -p $(FIGURES)
	$(BIN)/python -m tests.benchmarks.speed

lock: $(VENV)/.uv ## resolve the dependencies anew, for Python 3.11 to 3.13
	sh infra/lock.sh $(BIN)/uv

clean:
	rm -rf $(VENV) build lake .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Tierwise needs Python 3.11, 3.12 or 3.13; say which with make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing. On Debian: sudo apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/.uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/.uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@ $(VENV)/.runtime
