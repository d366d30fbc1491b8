# Everything a person or the CI runs. `make demo` and `make test` need nothing but a Python >= 3.11.
PYTHON := .venv/bin/python
PORT ?= 8000
SIMULATOR_PORT ?= 8900

.PHONY: demo test test-full lint check requirements venv venv-dev

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

# The long suites, whole: kills, floods, restarts. One at a time, they need the machine for themselves.
test-full: venv-dev
	$(PYTHON) -m pytest -m "slow and not live" $(ARGS)

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
