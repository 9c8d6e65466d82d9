"""Each ansible-core that the collection supports, and each Python that its modules run on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import ansible_test
import interpreters
import scenarios
from environment import CACHE
from results import Result, skipped
from setup import alone, environment

# The Pythons on which each ansible-core controls, the one that most have first, and the last Molecule for it.
CORES = {
    "2.17": (("3.11", "3.12", "3.10"), "molecule~=26.6.0"),
    "2.18": (("3.11", "3.12", "3.13"), "molecule~=26.10.0"),
    "2.19": (("3.11", "3.12", "3.13"), "molecule~=26.10.0"),
    "2.20": (("3.12", "3.13", "3.14"), "molecule~=26.10.0"),
    "2.21": (("3.12", "3.13", "3.14"), "molecule~=26.10.0"),
}
# The newest one whose ansible-test serves all Pythons of ansible_test.PYTHONS.
UNITS_CORE = "2.19"


def core_environment(core: str) -> Path | None:
    """The environment of that ansible-core; None where no Python that it runs on is here."""
    pythons, molecule = CORES[core]
    found = next(filter(None, map(interpreters.find, pythons)), None)
    if not found:
        return None
    requirements = CACHE / f"requirements-core-{core}.txt"
    with alone():
        requirements.write_text(f"ansible-core~={core}.0\n{molecule}\nmolecule-plugins[docker]==26.10.12\n")
        return environment(requirements, found)


def scenario(core: str, name: str = "default") -> Result:
    """The scenario, on both platforms, as this ansible-core runs it."""
    title = f"ansible-core {core} {name}"
    tools = core_environment(core)
    if tools is None:
        return skipped(title, f"none of Python {', '.join(CORES[core][0])} was found")
    return scenarios.molecule(name, title, tools, f"-core{core}")


def units(python: str) -> Result:
    """The tests of what runs on a host, on that Python."""
    title = f"modules on Python {python}"
    tools = core_environment(UNITS_CORE)
    if tools is None or interpreters.find(python) is None:
        return skipped(title, f"Python {python} was not found")
    where = ("tests/unit/plugins/modules/", "tests/unit/plugins/module_utils/")
    return ansible_test.units(title, "--python", python, *where, tools=tools)


def jobs() -> list[Callable[[], Result]]:
    """One job for each core and each Python."""
    return [*(partial(scenario, core) for core in CORES), *(partial(units, python) for python in ansible_test.PYTHONS)]
