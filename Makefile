# `make help` lists the targets. Each installs what it needs: system packages through apt when they
# are missing, Python packages through uv and the lock file.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Servers and commands start in half the time from compiled modules, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --frozen

# Another Python than .python-version's has an environment of its own.
ifdef PYTHON
export UV_PROJECT_ENVIRONMENT := .venv-$(notdir $(PYTHON))
export UV_PYTHON := $(PYTHON)
endif

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: python system  ## Replay a glibc fix with real parts (ARGS="--keep" leaves it running)
	$(RUN) upwell demo $(ARGS)

.PHONY: demo-kubernetes
demo-kubernetes: python system  ## Replay it on a cluster (KUBECONFIG=FILE, or the test kit's real node)
	RUN="$(RUN)" ./scripts/demo-on-kubernetes $(ARGS)

.PHONY: test
# Five files of tests at a time on two cores: among real parts, tests mostly wait. The slowest folders
# come first, so that all workers end together. tests/conftest.py says which tests get a second try;
# the summary names them.
test: python system identity-provider  ## Run all tests, each against the real parts that it names (PYTHON=3.14)
	./scripts/with-memory-disk $(RUN) pytest -n 5 --dist loadfile --no-loadscope-reorder \
		tests/acceptance tests/integration tests/contract tests/unit $(ARGS)

.PHONY: identity-provider
# Of npm, as its lock has it; without npm, the tests of sign-in say what to install.
identity-provider:  ## Install the OpenID Connect provider that tests sign in at
	if command -v npm >/dev/null && [ ! -e .tools/identity-provider/node_modules ]; then \
		mkdir -p .tools/identity-provider; \
		cp tests/support/identity_provider/package*.json .tools/identity-provider/; \
		cd .tools/identity-provider && \
			timeout 180 npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 || { \
				rm -rf node_modules; \
				echo "npm cannot install the identity provider: tests of sign-in are skipped"; \
			}; \
	fi

.PHONY: check
check: check-format check-lint check-types check-imports check-units  ## The quick gate: format, lint, types, import contracts, unit tests (PYTHON=3.14)

# What pre-commit runs one by one (.pre-commit-config.yaml).
.PHONY: check-format check-lint check-types check-imports check-units
check-format: python
	$(RUN) ruff format --check .
check-lint: python
	$(RUN) ruff check .
check-types: python
	$(RUN) mypy
check-imports: python
	$(RUN) lint-imports
check-units: python
	$(RUN) pytest -q -n 4 --cov --cov-report= tests/unit $(ARGS)

.PHONY: coverage
coverage: python  ## Show what the unit tests do not reach, branches too (htmlcov/index.html)
	COVERAGE_CORE=ctrace $(RUN) pytest -q -n 2 --cov --cov-branch --cov-fail-under=0 --cov-report=html tests/unit $(ARGS)

.PHONY: hooks
hooks: python  ## Have git run `make check`, part at commit and part at push
	$(RUN) pre-commit install

.PHONY: format
format: python  ## Format and fix what can be fixed
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

.PHONY: kills
kills: python system  ## Kill the server in the middle of its work, again and again (ROUNDS=1000 SEED=1)
	ROUNDS=$(or $(ROUNDS),100) SEED=$(or $(SEED),0) $(RUN) pytest -s -o faulthandler_timeout=999999 --reruns 0 \
		tests/acceptance/data_folder/test_kills.py $(ARGS)

.PHONY: faults
faults: python system  ## Inflict every fault at every step of the loop, and what else CI leaves to neighbours (an hour)
	UPWELL_FAULT_STEPS=all $(RUN) pytest -o faulthandler_timeout=999999 --reruns 0 \
		tests/acceptance/faults $$(grep -rlE 'ALL_STEPS|on_demand\(' --include='test_*.py' \
			--exclude-dir=faults tests/acceptance tests/contract tests/integration tests/unit/formats) $(ARGS)

.PHONY: benchmark
benchmark: python system  ## Measure (docs/benchmarks.md says what and how)
	$(RUN) pytest -m benchmark -s -o faulthandler_timeout=4000 tests/benchmarks $(ARGS)

MINUTES := 60
.PHONY: soak
soak: python system  ## Inflict random faults under load, and report (MINUTES=60, ARGS="--seed 1 --only router")
	$(RUN) python -m tests.soak --minutes $(MINUTES) $(ARGS)

.PHONY: fuzz
fuzz: python  ## Feed hostile bytes to every parser of them (MINUTES=10, ARGS="--only layer")
	$(RUN) --group fuzz python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

attacks: MINUTES := 10
.PHONY: attacks
attacks: python system  ## Attack a server in every way at once, beside the demo's story, and report (MINUTES=10, ARGS="--only pipelining")
	$(RUN) python -m tests.support.attacks --minutes $(MINUTES) $(ARGS)

.PHONY: release
release: python system  ## Build what is released, the same bytes from the same commit (FOLDER=dist KEY=release.pem)
	./scripts/build-release $(if $(KEY),--key "$(KEY)") $(or $(FOLDER),dist)

.PHONY: image
image: python system  ## Build Upwell's image and its SBOM (FOLDER=dist ARGS="--push registry.example/upwell:1")
	DEBIAN_CACHE="$${DEBIAN_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/upwell/image}" \
		./scripts/build-image $(ARGS) $(or $(FOLDER),dist)

.PHONY: deb
deb: python system  ## Build Upwell's Debian package (FOLDER=dist ARGS=--try installs it into a root file system)
	./scripts/build-deb $(ARGS) $(or $(FOLDER),dist)

.PHONY: python
python: $(UV)
ifdef PYTHON
	@found=$$(./scripts/find-python $(UV) $(PYTHON)) && UV_PYTHON=$$found $(UV) sync --frozen --quiet
else
	@$(UV) sync --frozen --quiet
endif

.PHONY: system
system:
	@./scripts/install-system-packages

.tools/bin/uv:
	@./scripts/install-uv
