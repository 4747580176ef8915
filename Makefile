# mlport: everything a newcomer types is `make demo` or `make test`. `make help` lists the rest.
VENV ?= .venv
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := $(VENV)/bin
STAMP := $(VENV)/.mlport-setup
UV := env -u PYTHONDONTWRITEBYTECODE $(BIN)/uv pip
JOBS ?= 3
MINUTES ?= 30
PROFILE ?= local
ONLY ?= *
.DEFAULT_GOAL := help

.PHONY: help setup demo test conformance faults samples live check lint types format bench soak docs lock wheel examples newcomer browser clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make the virtual environment with all extras, from requirements.lock (VENV=dir)

$(STAMP): requirements.lock pyproject.toml tests/sample_plugin/pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "installing what requirements.lock names (this takes a minute the first time) ..."
	@$(UV) sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	@$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . -e tests/sample_plugin
	@touch $(STAMP)

demo: setup ## train, register, serve, call, label, watch and train again on real data, on this machine; and what it costs anywhere
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/mlport demo

test: setup ## all tests
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

lint: setup ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy --strict
	@$(BIN)/mypy src providers

check: lint types ## lint and types

format: setup ## rewrite the code in the project's format
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

faults: setup ## the long fault tests: kills at every step, full disk, reboot, clock; every planted bug
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m "faults_full or not faults_full" tests/faults tests/unit/local
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(JOBS) -m faults_full tests/conformance

samples: setup ## the vendor's own samples, unmodified, against its emulator: PROVIDER=vertex|databricks SAMPLES=a checkout (ONLY='*batch*')
	@test -n "$(SAMPLES)" -a -f "tests/samples/$(PROVIDER)/run.py" || { echo "name a provider and a checkout: make samples PROVIDER=vertex SAMPLES=/path/to/python-aiplatform"; exit 2; }
	@env -u PYTHONDONTWRITEBYTECODE PYTHONPATH=tests $(BIN)/python -m samples.$(PROVIDER).run "$(SAMPLES)" --only '$(ONLY)'

live: setup ## the conformance suite on a real account, which costs money: PROVIDER=vertex (docs/live.md)
	@test -f "tests/live/test_$(PROVIDER).py" || { echo "name a provider: make live PROVIDER=vertex (docs/live.md)"; exit 2; }
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -s -p no:cacheprovider "tests/live/test_$(PROVIDER).py"

conformance: setup ## the whole conformance suite against a profile (PROFILE="vertex-emulated?transport=grpc")
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(JOBS) --pyargs mlport.testing.suite --profile="$(PROFILE)"

browser: setup ## the HTML reports in Chromium (which apt-get installs if there is none): phone, print, keyboard, console
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || $$(test "$$(id -u)" = 0 || echo sudo) apt-get install -y -q chromium
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -m browser tests/browser

examples: setup ## run every example
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q tests/examples

bench: setup ## the figures of the issues, each beside a peer's in the same run; fails on a missed goal
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python benchmarks/run.py $(BENCH)

soak: setup ## half an hour (MINUTES=30) of jobs and requests: nothing grows, leaks or is lost
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python benchmarks/soak.py --minutes $(MINUTES)

docs: setup ## regenerate the support matrix, the demo transcript and the command reference
	@$(BIN)/python -m mlport.cli.reference > docs/cli.md
	@$(BIN)/python docs/readme.py

lock: setup ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --all-extras --group dev --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11 pyproject.toml -o requirements.lock

wheel: setup ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## remove the environment and what was built
	@rm -rf $(VENV) dist build .mlport-demo
