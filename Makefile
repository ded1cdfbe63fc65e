# Every target but help, lock and clean stands on `setup`, which costs a blink when nothing
# changed. Options for the program behind a target go in ARGS: make test ARGS="tests/protocol -k fencing"
.DEFAULT_GOAL := help
.PHONY: help setup demo test check format coverage explore sweep endless histories bench lock clean

ARGS ?=
JOBS ?= 2
BENCH ?= phases
THOROUGH ?= 10
SEEDS ?= 300
ENDLESS ?= three agents: three epochs, two takeovers, a death, standing changes at will
# What `check` reads: the rooms, their tests, the benches.
ROOMS := turnout coordinator edge_agent simulator chaos bench tests
BIN := .venv/bin

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv with all that is needed, and install system packages (as root on Debian)
	@tools/setup.sh

demo: setup ## Play a world-wide switch on this machine, real proxies and etcd included
	@$(BIN)/turnout dev --demo $(ARGS)

test: setup ## Run the tests
	@$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

check: setup ## Format, lint, types and import contracts, nothing changed
	$(BIN)/ruff format --check $(ROOMS)
	$(BIN)/ruff check $(ROOMS)
	$(BIN)/mypy $(ROOMS)
	$(BIN)/lint-imports

format: setup ## Put every file into its format and mend what ruff can mend
	$(BIN)/ruff format $(ROOMS)
	$(BIN)/ruff check --fix $(ROOMS)

# Without what goes through the machines at random or exhaustively: each branch has a test that means it.
coverage: setup ## Run the protocol's directed tests and show that they reach every branch of it
	@$(BIN)/pytest tests/protocol -n $(JOBS) --ignore-glob='*/test_histor*' \
		--cov=turnout.protocol --cov-branch --cov-fail-under=100 $(ARGS)

explore: setup ## Exhaust small worlds of the protocol (ARGS=--all: the long ones too; ARGS=--list)
	@$(BIN)/turnout sim explore $(ARGS)

# As far as time and memory go: ARGS="--minutes 600 --memory-gib 12"; Ctrl-C says how far it came.
endless: setup ## Search the largest small world until it is stopped
	@$(BIN)/turnout sim explore --world "$(ENDLESS)" $(ARGS)

sweep: setup ## Simulate SEEDS worlds (300; a sweep for a release has 2000), judge each, show that broken machines are caught; failing ones go to build/failing-seeds
	@$(BIN)/turnout sim sweep --seeds 0..$$(($(SEEDS) - 1)) --keep build/failing-seeds $(ARGS)

histories: setup ## Random histories of the protocol, new ones, THOROUGH times as many as the tests
	@TURNOUT_THOROUGH=$(THOROUGH) $(BIN)/pytest tests/protocol/test_histories*.py -n $(JOBS) -o timeout=0 $(ARGS)

bench: setup ## Measure: make bench BENCH=phases, or another file of bench/
	@$(BIN)/python -m bench.$(BENCH) $(ARGS)

lock: ## Write requirements/*.lock anew from pyproject.toml (ARGS=--upgrade for the newest)
	@tools/lock.sh $(ARGS)

clean: ## Remove all that the other targets made
	rm -rf .venv .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage* *.egg-info build
	find $(ROOMS) -name __pycache__ -type d -prune -exec rm -rf {} +
