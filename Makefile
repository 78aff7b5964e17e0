# `make help` lists the targets. Each installs what it needs: system packages through apt when they
# are missing, Python packages through uv and the lock file.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --frozen

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: python system  ## Replay the glibc story with real parts (ARGS="--keep" leaves it running)
	$(RUN) upwell demo $(ARGS)

.PHONY: test
# Two files of tests at a time. A test that fails among real parts on a busy machine is run once
# more; the summary counts it.
test: python system  ## Run all tests, each against the real parts that it names
	$(RUN) pytest -n 2 --dist loadfile --reruns 1 tests/unit tests/contract tests/integration tests/acceptance $(ARGS)

.PHONY: check
check: python  ## The quick gate: format, lint, types, import contracts, unit tests
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) pytest -q tests/unit $(ARGS)

.PHONY: format
format: python  ## Format and fix what can be fixed
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

.PHONY: benchmark
benchmark: python system  ## Measure (docs/benchmarks.md says what and how)
	$(RUN) pytest -m benchmark -s tests/benchmarks $(ARGS)

.PHONY: python
python: $(UV)
	@$(UV) sync --frozen --quiet

.PHONY: system
system:
	@./scripts/install-system-packages

.tools/bin/uv:
	@./scripts/install-uv
