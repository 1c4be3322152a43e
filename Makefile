# Needs Linux, make and Python 3.11 or newer with its venv module. Everything is installed into .venv, from the package
# index that pip uses. PYTHON=/path/to/python chooses the interpreter; `rm -rf .venv` starts over.

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -qq --no-compile
# On all processors, where pip would take one. Packages may hold files that this Python cannot compile.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

# What the caller's shell imports must not reach the tools.
unexport PYTHONPATH
unexport PYTHONHOME
# Nor what would have each of some thousand processes compile callgate anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-mcp test-lowest test-newest lint types attacks bench soak journals clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo ## answer questions about 336,776 flights by JSON tool calls, by code, and by what `auto` chooses
	@$(BIN)/python examples/flights.py

test: $(VENV)/.dev .venv-mcp/.dev ## lint, types and tests; what CI runs
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint types test-mcp
	@echo "== tests"
	@$(BIN)/python -m pytest -q -n 4 --dist loadfile -m "not soak"

test-mcp: .venv-mcp/.dev ## tools of MCP servers in LlamaIndex, whose adapter excludes that of LangChain; part of `test`
	@echo "== tests of MCP in LlamaIndex"
	@.venv-mcp/bin/python -m pytest -q tests/llama_index_adapter/test_mcp.py

# Old releases have no wheels for the newest Python.
test-lowest: ## what depends on frameworks, with the oldest versions of them that pyproject.toml allows
	@PYTHON="$${PYTHON:-python3.11 python3.12 python3}" $(MAKE) -s VENV=.venv-lowest .venv-lowest/bin/uv
	@.venv-lowest/bin/python tests/versions.py lowest

test-newest: ## the same with the newest releases; names those that something holds back
	@$(MAKE) -s VENV=.venv-newest .venv-newest/bin/uv
	@.venv-newest/bin/python tests/versions.py newest

lint: $(VENV)/.dev ## ruff: rules and formatting
	@echo "== lint"
	@$(BIN)/ruff check --quiet && $(BIN)/ruff format --quiet --check

types: $(VENV)/.dev ## basedpyright, strict
	@echo "== types"
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

attacks: $(VENV)/.dev ## every attack in each mode of the jail, as root and as an ordinary user, and a table of what came of them
	@PYTHONPATH=src:adapters:tests $(BIN)/python -m attacks

bench: $(VENV)/.bench ## what callgate costs and what code saves, against baselines; new figures go into the README
	@$(BIN)/python benchmarks/overhead.py
	@$(BIN)/python benchmarks/sandbox.py
	@$(BIN)/python benchmarks/durable.py
	@$(BIN)/python benchmarks/cloud.py
	@$(BIN)/python benchmarks/bfcl.py
	@$(BIN)/python benchmarks/tau.py
	@$(BIN)/python benchmarks/vendors.py
	@$(BIN)/python benchmarks/router.py
	@$(BIN)/python benchmarks/discovery.py
	@$(BIN)/python benchmarks/table.py --write

soak: $(VENV)/.dev ## the long proofs that `make test` leaves out
	@$(BIN)/python -m pytest -q -m soak

journals: $(VENV)/.dev ## record anew the journals that the tests replay; see tests/recorded.py before you do
	@PYTHONPATH=src:adapters:tests $(BIN)/python tests/recorded.py

clean: ## remove the environments and caches
	rm -rf $(VENV) .venv-mcp .venv-lowest .venv-newest .pytest_cache .ruff_cache .hypothesis

# The stamps are newer than pyproject.toml once what it asks for is installed.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "== installing callgate and its development tools into $(VENV) (one to three minutes)"
	@$(PIP_INSTALL) --editable '.[dev]'
	@$(COMPILE)
	@touch $@ $(VENV)/.demo

# llama-index-tools-mcp needs another major version of `mcp` than langchain-mcp-adapters does. This environment stands on
# the first one, so that only what differs is installed; pip finds fault with that, and is heard only where it fails.
.venv-mcp/.dev: $(VENV)/.dev
	@echo "== installing llama-index-tools-mcp into .venv-mcp (some seconds)"
	@$(BIN)/python -m venv --clear --without-pip .venv-mcp
	@$(BIN)/python -c 'import sysconfig as s; print("import site; site.addsitedir(%r)" % s.get_path("purelib"))' \
		> "$$(.venv-mcp/bin/python -c 'import sysconfig as s; print(s.get_path("purelib"))')/beneath.pth"
	@$(BIN)/python -m pip --python .venv-mcp/bin/python install --disable-pip-version-check -q \
		'llama-index-tools-mcp>=0.6,<0.7' > .venv-mcp/pip.log 2>&1 || { cat .venv-mcp/pip.log >&2; exit 1; }
	@touch $@

# What bfcl-eval asks for would replace half of what is installed, and its tools need nothing of it but mpmath.
$(VENV)/.bench: $(VENV)/.dev
	@$(PIP_INSTALL) --no-deps bfcl-eval==2026.3.23 mpmath && touch $@ || echo "bfcl-eval is not installed: BFCL is left out"

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "== installing callgate and the demo's data into $(VENV) (about a minute)"
	@$(PIP_INSTALL) --editable '.[demo]'
	@$(COMPILE)
	@touch $@

$(BIN)/uv: | $(BIN)/python
	@$(PIP_INSTALL) uv

$(BIN)/python:
	@for python in $${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "== making $(VENV) with $$(command -v "$$python")"; \
			exec "$$python" -m venv --clear $(VENV); \
		fi; \
	done; \
	echo "No usable Python: callgate needs Python 3.11 or newer with the modules venv and ensurepip." >&2; \
	echo "On Debian and Ubuntu: apt install python3-venv. Or name an interpreter: make PYTHON=/path/to/python" >&2; \
	exit 1
