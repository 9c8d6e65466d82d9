# `make help` lists the targets. Everything that they create is below .cache/ and in Docker.
PYTHON ?= python3
SCENARIO ?=
PLATFORM ?=
ACTION ?= test
# Options for pytest, such as ARGS="-k rollback".
ARGS ?=
# The parts of the matrix.
SESSIONS ?= scenarios core modules

RUN = $(PYTHON) tools/run.py
TOOLS = .cache/venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo demo-destroy test test-all test-fast test-unit test-integration lint molecule certify matrix \
	setup images docs docs-tables docs-recording build clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

demo: setup ## Deploy a Flask application to a Debian host in a container on this machine
	@$(TOOLS)/python tools/demo.py

demo-destroy: ## Remove the demo's host
	@$(PYTHON) tools/demo.py --destroy

test: ## Lint, unit tests, sanity tests, and the scenario `default` on Debian 12 and 13
	@$(RUN) test -- $(ARGS)

test-all: ## All tests but the matrix
	@$(RUN) test-all -- $(ARGS)

test-fast: ## The linters that take seconds, and the unit tests whose code has changed
	@$(RUN) test-fast -- $(ARGS)

test-unit: ## Unit tests; they need no Docker
	@$(RUN) unit -- $(ARGS)

test-integration: ## Modules and playbooks on hosts in containers
	@$(RUN) integration -- $(ARGS)

lint: ## ansible-lint, yamllint, ruff, mypy, the changelog, the documentation
	@$(RUN) lint -- $(ARGS)

molecule: $(if $(SCENARIO),setup) ## Scenarios on hosts in containers: SCENARIO=default PLATFORM=debian13 ACTION=converge
	@$(if $(SCENARIO),$(TOOLS)/python tools/scenario.py $(SCENARIO) --action $(ACTION) --platform "$(PLATFORM)",$(RUN) molecule -- $(ARGS))

certify: ## The tests of Galaxy and of partner certification
	@$(RUN) certify -- $(ARGS)

matrix: ## Each scenario on each platform, each ansible-core, and each Python that hosts have
	@$(RUN) $(SESSIONS) -- $(ARGS)

setup: ## Install the tools and the collections that the tests need
	@$(PYTHON) tools/setup.py

images: setup ## Build the images of the test hosts
	@$(TOOLS)/python molecule/shared/image/build.py

docs: setup ## Build the documentation's site in .cache/docs/html
	@$(TOOLS)/python docs/site/docs_site.py

docs-tables: setup ## Write the generated tables and pictures of the documentation
	@$(TOOLS)/python tools/generate_docs.py

docs-recording: setup ## Record the run that README.md shows, on a host in a container, and draw it
	@$(TOOLS)/python docs/site/record.py
	@$(TOOLS)/python tools/generate_docs.py

build: setup ## Build the collection's tarball
	@$(TOOLS)/ansible-galaxy collection build --force

clean: demo-destroy ## Remove the demo and .cache/
	@rm -rf .cache .ruff_cache .pytest_cache .testmondata*
