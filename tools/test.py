"""Run the tests and sum them up: test.py [lint] [unit] [certify] [integration] [molecule] [matrix].

Without a name, all but the matrix, which takes as long again, and the unit tests only once.

The last line is `N passed, N failed`, with `, N skipped` where something could not be run here. Each tool of lint and
of certify, each unit or integration test, each sanity test and each run of a scenario counts as one. What passes
takes a line; the output of what fails is printed whole.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

import certify
import matrix
import scenarios
from changed import unit_tests
from environment import ROOT, say, tool_environment
from results import Result, command_result, pytest, show, total
from setup import setup

sys.path.insert(0, str(ROOT / "molecule/shared/image"))
from build import SUITES, build_images

PARTS = ("lint", "unit", "certify", "integration", "molecule")
LINT = {
    "ansible-lint": ["ansible-lint"],
    "yamllint": ["yamllint", "--strict", "."],
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "changelog": ["antsibull-changelog", "lint"],
    "docs": [sys.executable, "tools/docs_site.py"],
}
# Those of them that certification runs, too.
CERTIFY_LINT = ("ansible-lint", "changelog")
# Scenarios that measure latencies: nothing may run beside them.
ALONE = {"load"}
# What takes longest begins first, so that none of it is left over at the end.
LONGEST = ("adopt", "interrupted", "lifecycle", "doctor", "fleet")

Job = Callable[[], Result]


def lint(*names: str) -> Iterator[Result]:
    for name in names or LINT:
        yield command_result(name, LINT[name], tool_environment())


def unit() -> Result:
    return pytest("tests/unit", "tests/unit", "-n", "auto")


def fast() -> Iterator[Result]:
    """What tells within a minute whether a change is good."""
    yield from lint("ruff check", "ruff format", "yamllint", "changelog")
    paths, why = unit_tests()
    say(why)
    if paths:
        yield pytest("unit tests of the change", *paths, "-n", "auto")


def on_hosts(parts: set[str]) -> list[Job]:
    """What runs in containers, in the order in which it begins."""
    # The matrix runs the scenario with the tools' own ansible-core, too.
    names = [name for name in scenarios.names() if name not in ALONE] if "molecule" in parts else []
    if "matrix" in parts and "default" in names:
        names.remove("default")
    first = [name for name in LONGEST if name in names]
    jobs: list[Job] = [partial(scenarios.molecule, name) for name in first]
    if "integration" in parts:
        rest = ("tests/integration", f"--ignore={certify.TARGETS}")
        jobs[1:1] = [
            partial(pytest, "tests/integration", *rest),
            partial(pytest, "ansible-test integration", certify.TARGETS),
        ]
    elif "certify" in parts:
        jobs.append(partial(pytest, "on hosts", *certify.ON_HOSTS))
    if "certify" in parts:
        jobs += certify.jobs(units="unit" not in parts)
    if "matrix" in parts:
        jobs += matrix.jobs()
    return jobs + [partial(scenarios.molecule, name) for name in names if name not in first]


def together(jobs: list[Job]) -> Iterator[Result]:
    """What waits for the network and for services, too: one more than there are processors keeps them busy."""
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        for done in as_completed([pool.submit(job) for job in jobs]):
            yield done.result()


def test(parts: set[str]) -> bool:
    setup()
    results: list[Result] = []

    def collect(part: Iterable[Result]) -> None:
        for result in part:
            results.append(result)
            show(result)

    if "fast" in parts:
        collect(fast())
    # The images come over the network while the processors lint.
    with ThreadPoolExecutor() as pool:
        images = pool.submit(build_images) if parts - {"fast", "lint", "unit"} else None
        if "lint" in parts:
            collect(lint())
        elif "certify" in parts:
            collect(lint(*CERTIFY_LINT))
        if "unit" in parts:
            collect([unit()])
        if images:
            images.result()
    collect(together(on_hosts(parts)))
    if "molecule" in parts:
        collect(scenarios.molecule(name) for name in scenarios.names() if name in ALONE)
    print(total(results), flush=True)
    return not any(result.failed for result in results)


def scenario(name: str, action: str, platform: str) -> None:
    """Run one action of one scenario in the foreground, as while writing a role."""
    setup()
    build_images(*([platform] if platform else []))
    command, environment = scenarios.command(name, action, platform)
    os.chdir(ROOT)
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*PARTS, "matrix", "fast", []],
        metavar="part",
        help=f"{', '.join(PARTS)}; matrix; or fast",
    )
    parser.add_argument("--scenario", choices=scenarios.names(), help="run one Molecule scenario, in the foreground")
    parser.add_argument("--action", default="test", help="Molecule's action: test, converge, verify, login, destroy …")
    parser.add_argument("--platform", default="", choices=["", *SUITES], help="on one platform only")
    arguments = parser.parse_args()
    if arguments.scenario:
        scenario(arguments.scenario, arguments.action, arguments.platform)
    sys.exit(not test(set(arguments.parts or PARTS)))
