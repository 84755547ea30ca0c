# `make demo` and `make test` set themselves up; all they need is python3 with its venv module.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FIGURES := build/figures
SEED ?= 1
UNITS ?= tests/unit

.PHONY: demo test check unit bench certify faults caps short nights limits scale replay forecast fusion report lock clean

demo: $(VENV)/.runtime ## the main job, on the example corpus
	@$(BIN)/tierwise run jobs/examples/support.yaml

test: $(VENV)/.dev ## all tests; those of an absent service skip by name (and fail where CI=true)
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.dev ## the unit tests, which need no service
	$(BIN)/python -m pytest $(UNITS)

check: $(VENV)/.dev ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## figures, printed and written to build/figures
	@mkdir -p $(FIGURES)
	$(BIN)/python -m tests.benchmarks.speed

caps: $(VENV)/.dev ## what a cap buys when many workers spend it at once; written to build/figures/cap.json
	$(BIN)/python -m tests.faults.cap

short: $(VENV)/.dev ## accuracy when money is short, on recorded outcomes; written to build/figures/short.json
	$(BIN)/python -m tests.benchmarks.short

nights: $(VENV)/.dev ## what a student saves in ten nights; takes twenty minutes; written to build/figures/nights.json
	$(BIN)/python -m tests.benchmarks.nights

certify: $(VENV)/.dev ## how often certificates hold, how much they cost beside BARGAIN; written to build/figures/certify.json
	@$(BIN)/uv pip install --quiet --no-deps --target build/bargain bargain==0.1.3
	$(BIN)/python -m tests.benchmarks.certify

forecast: $(VENV)/.dev ## whether bills fall into the interval forecast; written to build/figures/forecast.json
	$(BIN)/python -m tests.benchmarks.forecast

fusion: $(VENV)/.dev ## a weighted vote beside a plain majority; written to build/figures/fusion.json
	$(BIN)/python -m tests.benchmarks.fusion

report: $(VENV)/.dev ## size and opening of the report of a million rows; written to build/figures/report.json
	$(BIN)/python -m tests.benchmarks.report

limits: $(VENV)/.dev ## how much of an upstream's hard limit four workers use; written to build/figures/limits.json
	$(BIN)/python -m tests.benchmarks.limits

replay: $(VENV)/.dev ## what routing earns on recorded outcomes; written to build/figures/routing.json
	$(BIN)/python -m tests.benchmarks.routing

scale: $(VENV)/.dev ## how each step grows from ten thousand queries to a million; takes half an hour and 5 GB of disk
	$(BIN)/python -m tests.benchmarks.scale

faults: $(VENV)/.dev ## the long fault campaign: 200 kills, and every service broken; prints a table
	@mkdir -p $(FIGURES)
	$(BIN)/python -m tests.faults.campaign --seed $(SEED) --kills 200

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
