"""The sessions behind the targets of the Makefile; pytest runs all tests.

`make` installs nox and sums the tests up (tools/run.py). Arguments after `--` go to pytest.
"""

import os
import shutil
import sys

import nox

sys.path.insert(0, "tools")
from packages import can_install, is_docker_running

nox.needs_version = ">=2025.5.1"
# nox runs in the virtual environment of the tools.
nox.options.default_venv_backend = "none"
nox.options.envdir = ".cache/nox"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False

SCENARIO = "tests/scenarios/test_scenarios.py::test_scenario"
# Tests on hosts wait for the network and for services, so one more worker than processors keeps these busy.
WORKERS = (os.cpu_count() or 1) + 1
# Each supported ansible-core, with the controller's Python and Molecule.
CORES = (
    ("3.11", "2.17", "26.6"),
    ("3.11", "2.18", "26.10"),
    ("3.11", "2.19", "26.10"),
    ("3.12", "2.20", "26.10"),
    ("3.12", "2.21", "26.10"),
)
# Each Python that hosts may have.
PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


def pytest(session, *arguments, workers=WORKERS):
    report = f"--junit-xml=.cache/reports/{session.name}.xml"
    options = ["-n", str(workers), "--dist=loadgroup", "--no-loadscope-reorder", "--durations=20", report]
    session.run("python", "-m", "pytest", *options, *arguments, *session.posargs)


def images(session):
    # Without Docker, the tests on hosts are skipped.
    if is_docker_running() or can_install():
        session.run("python", "molecule/shared/image/build.py")


@nox.session
def test(session):
    """Lint, unit and sanity tests, and the scenario `default`: first run, second run, deploy, rejection, rollback."""
    images(session)
    pytest(session, f"{SCENARIO}[default]", "tests/checks/test_sanity.py", "tests/checks/test_linters.py", "tests/unit")


@nox.session(name="test-all")
def test_all(session):
    """All tests but the matrix."""
    images(session)
    pytest(session, "tests/scenarios", "tests/integration", "tests/checks", "tests/unit")


@nox.session(name="test-fast")
def test_fast(session):
    """Linters that take seconds, and the unit tests whose code has changed."""
    # testmon does not detect files that linters read.
    session.run("python", "-m", "pytest", "-q", "tests/checks/test_linters.py::test_quick_linter")
    pytest(session, "--testmon", "tests/unit", workers=0)


@nox.session
def lint(session):
    """ansible-lint, yamllint, ruff, mypy, the changelog, the documentation."""
    pytest(session, "tests/checks/test_linters.py")


@nox.session
def unit(session):
    """Unit tests."""
    pytest(session, "tests/unit")


@nox.session
def integration(session):
    """Modules and playbooks on hosts."""
    images(session)
    pytest(session, "tests/integration")


@nox.session
def molecule(session):
    """Scenarios, each on one platform."""
    images(session)
    pytest(session, "tests/scenarios")


@nox.session
def certify(session):
    """The tests that Galaxy and partner certification run."""
    images(session)
    on_hosts = ["tests/integration/test_targets.py", "tests/integration/test_installation.py"]
    pytest(session, *on_hosts, "tests/checks")


@nox.session
def scenarios(session):
    """Each scenario on each platform. Those of Ubuntu are skipped if no registry provides their images."""
    images(session)
    # A few are enough for every change.
    session.env["INTERRUPT_RANDOM"] = os.environ.get("INTERRUPT_RANDOM", "100")
    pytest(session, "tests/scenarios", "tests/integration/test_targets.py", "--platforms=all")


@nox.session(venv_backend="uv")
@nox.parametrize("python,core,molecule", CORES, ids=[f"core-{row[1]}" for row in CORES])
def core(session, core, molecule):
    """The scenario `default` on each Debian, with one ansible-core."""
    packages = [f"ansible-core~={core}.0", f"molecule~={molecule}.0", "molecule-plugins[docker]==26.10.12"]
    session.install(*packages, "pip", "pytest", "pytest-xdist")
    images(session)
    session.env["FLASKOPS_MATRIX"] = f"-core{core}"
    pytest(session, "tests/scenarios", "--platforms=all", "-k", "default and not ubuntu")


@nox.session
@nox.parametrize("version", PYTHONS, ids=PYTHONS)
def modules(session, version):
    """The unit tests of the code that runs on hosts, with one Python."""
    if not shutil.which(f"python{version}"):
        session.skip(f"Python {version} is not installed")
    tests = ["tests/unit/plugins/modules/", "tests/unit/plugins/module_utils/"]
    session.run("python", "tests/support/ansible_test.py", "units", "--venv", "--python", version, *tests)
