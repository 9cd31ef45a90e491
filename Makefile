# Every target says what it does: `make` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

BIN := .venv/bin

.PHONY: help setup compiled demo test test-fast test-platforms check bench bench-link bench-payload test-link-kills bench-scan bench-rehome bench-plan bench-server bench-rules chaos docs lock clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-18s %s\n' "$$name" "$$text"; done

setup: ## system packages, .venv, qBittorrent 5.1 in a cache folder; quick when all is there
	@scripts/python -m scripts.setup

compiled: setup ## bytecode of our own, as an installed program has it, also where Python may write none
	@$(BIN)/python -m compileall -q src

demo: setup ## a private qBittorrent, two filesystems, a small library: move what may move, in two minutes
	@$(BIN)/python -m scripts.demo

test: ## set up, then run every test with coverage (needs root: filesystems are mounted)
	@scripts/python -m scripts.setup --mounts
	@$(BIN)/python -m scripts.run_tests

test-fast: setup ## the tests that start no client and mount nothing; seconds
	@$(BIN)/python -m pytest -q -n auto -m "not real and not root and not chaos and not slow and not platforms"

test-platforms: ## the container image for arm64 and armv7, built and run by an emulated processor (a quarter of an hour; half an hour the first time)
	@scripts/python -m scripts.setup --mounts --platforms
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m platforms --durations=0 tests/integration/test_image.py

check: setup ## ruff, formatting, mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src tests/support scripts

bench: compiled ## relocation beside plain setLocation, on real filesystems and a real client
	@$(BIN)/python -m benchmarks.relocation

bench-rehome: compiled ## groups of 1, 3 and 10 torrents beside setLocation; 1,000 groups that are reused
	@$(BIN)/python -m benchmarks.relocation --size 64MiB --torrents 1 --torrents 3 --torrents 10
	@$(BIN)/python -m benchmarks.reuse --groups 1000

bench-plan: compiled ## plans and a report over 30,000 torrents (ARGS="--torrents 3000")
	@$(BIN)/python -m benchmarks.rehome_plan $(ARGS)

bench-server: compiled ## jobs through the queue beside huey and rq; requests to the server by 100 clients
	@$(BIN)/python -m benchmarks.server_queue
	@$(BIN)/python -m benchmarks.server_http

chaos: setup ## N (default 200) random days with a fault each, on real filesystems and a real client
	@CHAOS_N=$(or $(N),200) CHAOS_FIRST=$(or $(FIRST),0) $(BIN)/python -m pytest -q -n 3 tests/chaos/test_chaos.py

bench-link: compiled ## duplicates become hardlinks beside jdupes -L and hardlink (ARGS="--small 2000 --large 8"; 10 GB)
	@$(BIN)/python -m benchmarks.link $(ARGS)

test-link-kills: setup ## SIGKILL of `hashall link execute` at 200 random moments, every name watched meanwhile
	@SEEDKEEP_LINK_KILLS=200 $(BIN)/python -m pytest -q -n auto tests/chaos/test_link_kills.py

bench-payload: compiled ## payload sync of 30,000 torrents beside a bare HTTP client (ARGS="--torrents 3000 --version 5.1")
	@$(BIN)/python -m benchmarks.payload $(ARGS)

bench-scan: compiled ## scans beside find, jdupes, rdfind, rmlint, hardlink, openssl (ARGS=--small; 30 GB, cached)
	@$(BIN)/python -m benchmarks.scan $(ARGS)

bench-rules: compiled ## fifty rules on thousands of torrents beside qbt-rules 0.3.2
	@$(BIN)/python -m benchmarks.rules $(ARGS)

docs: setup ## write the parts of the documentation that come from the code
	@$(BIN)/python -m scripts.docs

lock: setup ## compile requirements/*.txt from pyproject.toml (ARGS=--upgrade takes newer ones)
	@$(BIN)/python -m scripts.lock $(ARGS)

clean: ## remove what make put into the checkout; the cache folder stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* coverage.json
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
