# `make help` lists what people do here; CI runs exactly these targets.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ARGS   ?=
# Images of Python often forbid compiled modules. Every process would compile them all again: twice the time of the tests.
unexport PYTHONDONTWRITEBYTECODE
# Four files at once on any machine, in the order of tests/conftest.py: the longest wait more than they work.
AT_ONCE := -n 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format test-slow test-cluster test-crash test-github test-browser bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(READY): requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 bot commands storage tests
	@touch $@

setup: $(READY) ## install everything into .venv (pinned, hashed)

demo: $(READY) ## run Locktender against stand-ins on this machine (ARGS="--script" for one deploy without a person)
	@$(BIN)/locktender demo $(ARGS)

test: $(READY) ## the test suite (three minutes on two cores): needs only Python, git and make
	$(BIN)/python -m pytest $(AT_ONCE) $(ARGS)

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

test-slow: $(READY) ## what make test leaves out: every trouble of git, Jenkins, cluster and kill -9, Postgres (many minutes)
	$(BIN)/python -m pytest $(AT_ONCE) -m "slow and not crash_sweep" tests $(ARGS)

test-cluster: $(READY) ## the tests that need a disposable Kubernetes cluster in KUBECONFIG
	$(BIN)/python -m pytest -m cluster tests $(ARGS)

test-crash: $(READY) ## kill -9 at every system call of a delivery (minutes; needs strace)
	$(BIN)/python -m pytest -m crash_sweep tests/crash $(ARGS)

OCTOKIT := .octokit
$(OCTOKIT)/.ready:
	mkdir -p $(OCTOKIT)/openapi $(OCTOKIT)/webhooks-examples
	cd $(OCTOKIT) && npm pack --silent @octokit/openapi@23.0.2 @octokit/webhooks-examples@7.6.1 >/dev/null
	tar -xzf $(OCTOKIT)/octokit-openapi-23.0.2.tgz -C $(OCTOKIT)/openapi --strip-components=1 package/generated/api.github.com.json
	tar -xzf $(OCTOKIT)/octokit-webhooks-examples-7.6.1.tgz -C $(OCTOKIT)/webhooks-examples --strip-components=1 package/api.github.com/index.json
	@touch $@

test-github: $(READY) $(OCTOKIT)/.ready ## the GitHub stand-in and adapter against GitHub's own description (needs npm)
	LOCKTENDER_OCTOKIT=$(abspath $(OCTOKIT)) $(BIN)/python -m pytest tests/contract/test_github_stand_in_contract.py $(ARGS)

AXE := .axe
$(AXE)/.ready:
	mkdir -p $(AXE)
	npm install --silent --no-audit --no-fund --prefix $(AXE) axe-core@4.10.3 playwright-core@1.49.1 >/dev/null
	@touch $@

test-browser: $(READY) $(AXE)/.ready ## the pages in a real browser, with accessibility checks (needs chromium and npm)
	LOCKTENDER_AXE=$(abspath $(AXE)) $(BIN)/python -m pytest -m browser tests/browser $(ARGS)

bench: $(READY) ## the benchmarks: one table, ratios against a named baseline in the same run
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(READY) ## pin the requirements again, with hashes
	$(BIN)/uv pip compile pyproject.toml --extra kubectl --extra charts --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -o requirements/run.txt
	$(BIN)/uv pip compile pyproject.toml --extra kubectl --extra charts --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -o requirements/dev.txt
	echo "hatchling>=1.27" | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -o requirements/build.txt

clean: ## remove what the targets made
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
