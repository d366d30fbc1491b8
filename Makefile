# Everything a person or the CI runs. `make demo` and `make test` need nothing but a Python >= 3.11.
PYTHON := .venv/bin/python
# Modules, and tests with their assertions rewritten, are compiled once: not by each process of each run.
unexport PYTHONDONTWRITEBYTECODE
PORT ?= 8000
SIMULATOR_PORT ?= 8900

.PHONY: demo test test-full bench bench-growth chaos lint check requirements venv venv-dev

venv:
	@python3 integrations_site/bootstrap.py --quiet

venv-dev:
	@python3 integrations_site/bootstrap.py --quiet --dev

# The hub with simulated providers: does the main job once, then stays up. ONCE=1 ends after the job.
demo: venv
	@$(PYTHON) -m integrations_site.demo --port $(PORT) --simulator-port $(SIMULATOR_PORT) $(if $(filter 1 yes true,$(ONCE)),--once)

# ARGS= goes to pytest, for example ARGS="tests/site -x".
test: venv-dev
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not slow and not live" $(ARGS)

# The long suites, whole, in two parts: those that may run side by side, then those that need the machine for themselves
# (marker `alone`: kills, floods, restarts). Both run, whatever the first one finds. With ARGS= a part may have nothing to do.
# Side by side test by test, not file by file: some files are one test of minutes, and some tests do little but wait.
TOGETHER = $(PYTHON) -m pytest -n 3 --dist worksteal -m "slow and not alone and not live" $(ARGS)
ALONE = $(PYTHON) -m pytest -m "slow and alone and not live" $(ARGS)
NOTHING_TO_DO = $(if $(ARGS),[ $$? = 5 ],false)
test-full: venv-dev
	@failed=; \
	$(TOGETHER) || $(NOTHING_TO_DO) || failed=yes; \
	$(ALONE) || $(NOTHING_TO_DO) || failed=yes; \
	[ -z "$$failed" ]

# Ratios against a baseline measured in the same run, to var/bench.json: docs/benchmarks.md. STRICT=1: exit code 2 for missed goals.
bench: venv-dev
	$(PYTHON) -m tests.bench

# List, filter and search pages with ten million rows in each table against ten thousand, to var/bench-growth.json: docs/growth.md.
# Takes 15 minutes, most of them to load, and asks for 31 GB below the temporary folder (TMPDIR); ROWS= for fewer, STRICT=1 as above.
bench-growth: venv-dev
	$(PYTHON) -m tests.bench.growth $(if $(ROWS),--rows $(ROWS))

# Harms a whole hub for some minutes and accounts for every item: docs/chaos.md. ITEMS= DURATION= SEED=
chaos: venv-dev
	$(PYTHON) -m tests.chaos $(if $(ITEMS),--items $(ITEMS)) $(if $(DURATION),--seconds $(DURATION)) $(if $(SEED),--seed $(SEED))

lint: venv-dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	.venv/bin/lint-imports
	$(PYTHON) -m mypy

# Django's own checks as in production, migrations, OpenAPI; with a throw-away database.
check: venv-dev
	PATH="$(CURDIR)/.venv/bin:$$PATH" .ci/check

# Pin again what requirements*.in ask for (needs `uv`).
requirements:
	UV_CUSTOM_COMPILE_COMMAND="make requirements" uv pip compile --universal --python-version 3.11 --generate-hashes requirements.in -o requirements.txt
	UV_CUSTOM_COMPILE_COMMAND="make requirements" uv pip compile --universal --python-version 3.11 --generate-hashes requirements-dev.in -o requirements-dev.txt
