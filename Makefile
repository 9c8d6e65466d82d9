# `make help` says what there is. Everything that these targets create is below .cache/ and in Docker.
PYTHON ?= python3
SCENARIO ?=
PLATFORM ?=
ACTION ?= test

.DEFAULT_GOAL := help
.PHONY: help setup images docs-tables lint docs test-fast test-unit test-integration molecule certify matrix test demo \
	demo-destroy build clean

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

demo: ## A Flask application on a Debian host, on this machine, in minutes
	@$(PYTHON) tools/demo.py

demo-destroy: ## Remove the demo's host
	@$(PYTHON) tools/demo.py --destroy

setup: ## Install the tools and the collections that the tests need
	@$(PYTHON) tools/setup.py

images: ## Build the images of the test hosts
	@$(PYTHON) molecule/shared/image/build.py

test-fast: ## While writing: lint, and the unit tests of what has changed; less than a minute
	@$(PYTHON) tools/test.py fast

lint: ## ansible-lint, yamllint, ruff, the changelog
	@$(PYTHON) tools/test.py lint

test-unit: ## Unit tests; they need no Docker
	@$(PYTHON) tools/test.py unit

test-integration: ## Integration tests, in containers
	@$(PYTHON) tools/test.py integration

molecule: ## Scenarios, in containers: SCENARIO=default PLATFORM=debian13 ACTION=converge narrow it down
	@$(PYTHON) tools/test.py $(if $(SCENARIO),--scenario $(SCENARIO) --action $(ACTION) --platform "$(PLATFORM)",molecule)

certify: ## What Galaxy and partner certification run: ansible-test, the import, the documentation, an installation
	@$(PYTHON) tools/test.py certify

matrix: ## The scenario `default` with each ansible-core, and the modules' tests on each Python
	@$(PYTHON) tools/test.py matrix

test: ## All of them but the matrix; the last line sums them up
	@$(PYTHON) tools/test.py

docs-tables: setup ## Write the tables of variables in the READMEs again
	@.cache/venv/bin/python tools/generate_docs.py

docs: ## The documentation's site, in .cache/docs/html
	@$(PYTHON) tools/docs_site.py

build: setup ## The collection as a tarball, as Galaxy would have it
	@.cache/venv/bin/ansible-galaxy collection build --force

clean: demo-destroy ## Remove the demo and .cache/
	@rm -rf .cache .ruff_cache .pytest_cache
