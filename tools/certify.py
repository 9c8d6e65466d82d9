"""What the certification of a collection runs: that of Galaxy's import, that of partners, and more of the same."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ansible_test
from environment import ROOT, tool_environment
from results import Result, command_result, run
from setup import alone, environment

# Tests that certification asks for and that need a host, as pytest runs them.
TARGETS = "tests/integration/test_targets.py"
ON_HOSTS = (TARGETS, "tests/integration/test_installation.py")


def tools() -> Path:
    with alone():
        return environment(ROOT / "tools/requirements-certify.txt")


def no_exceptions() -> Result:
    """Sanity tests can be told what to overlook, and so can the import of the collection."""
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "tests/sanity").glob("ignore*.txt")]
    log = f"Mend what these files excuse, and remove them: {', '.join(found)}"
    return Result("no exceptions", int(not found), int(bool(found)), 0, log)


def galaxy_importer() -> Result:
    """Build the collection and import it as Galaxy does, which tells of a fault by a line and not by its end."""
    start = time.monotonic()
    settings = tool_environment(PATH=f"{tools() / 'bin'}:{tool_environment()['PATH']}")
    with tempfile.TemporaryDirectory(prefix="flaskops-import-") as place:
        build = ["ansible-galaxy", "collection", "build", f"--output-path={place}", str(ROOT)]
        code, log = run(build, settings)
        tarballs = list(Path(place).glob("*.tar.gz"))
        if code == 0 and len(tarballs) == 1:
            command = [str(tools() / "bin/python"), "-m", "galaxy_importer.main", str(tarballs[0])]
            code, more = run(command, settings | {"HOME": place}, Path(place))
            log += more
    good = code == 0 and "Importer processing completed successfully" in log
    good = good and not any(line.startswith(("ERROR", "WARNING", "CRITICAL")) for line in log.splitlines())
    return Result("galaxy-importer", int(good), int(not good), time.monotonic() - start, log)


def antsibull_docs() -> Result:
    lint = ["lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", str(ROOT)]
    return command_result("antsibull-docs", [str(tools() / "bin/antsibull-docs"), *lint], tool_environment())


def jobs(units: bool) -> list[Callable[[], Result]]:
    """Unit tests are left out where pytest runs them by itself, which are the same.

    ansible-test makes each test a process of its own, so that nothing is shared. Those of plugins are made for that;
    those of what roles write would each wait for an ansible-playbook.
    """
    units_of_plugins = ("--python", "{}.{}".format(*sys.version_info), "tests/unit/plugins/")
    return [
        partial(ansible_test.sanity, "ansible-test sanity"),
        *([partial(ansible_test.units, "ansible-test units", *units_of_plugins)] if units else []),
        galaxy_importer,
        antsibull_docs,
        no_exceptions,
    ]
