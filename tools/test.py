#!/usr/bin/env python3
"""Run the tests and sum them up: test.py [lint] [unit] [integration] [molecule]; all of them when none is named.

The last line is `N passed, N failed`. Each tool of lint, each unit or integration test and each Molecule scenario
counts as one. What passes takes a line; the output of what fails is printed whole.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from environment import CACHE, ROOT, VENV, say, tool_environment
from setup import setup

sys.path.insert(0, str(ROOT / "molecule/shared/image"))
from build import SUITES, build_images

PARTS = ("lint", "unit", "integration", "molecule")
# Scenarios that measure latencies: nothing may run beside them.
ALONE = {"load"}
# Scenarios that begin first, so that none of them is left over at the end.
LONGEST = {"interrupted", "lifecycle"}
LINT = {
    "ansible-lint": ["ansible-lint"],
    "yamllint": ["yamllint", "--strict", "."],
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "changelog": ["antsibull-changelog", "lint"],
    "docs": [sys.executable, "tools/docs_site.py"],
}


@dataclass(frozen=True)
class Result:
    name: str
    passed: int
    failed: int
    seconds: float
    log: str
    note: str = ""


def run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode(errors="replace")


def command_result(name: str, command: list[str], environment: dict[str, str]) -> Result:
    start = time.monotonic()
    code, log = run(command, environment)
    return Result(name, int(code == 0), int(code != 0), time.monotonic() - start, log)


def lint() -> Iterator[Result]:
    for name, command in LINT.items():
        yield command_result(name, command, tool_environment())


def counts(report: Path) -> tuple[int, int, int]:
    """Tests passed, failed and skipped, from pytest's own report."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite")) if report.exists() else []
    tests, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return tests - failed - skipped, failed, skipped


def pytest(directory: str, *options: str) -> Result:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.xml"
        command = [str(VENV / "bin/python"), "-m", "pytest", directory, *options, f"--junit-xml={report}"]
        code, log = run(command, tool_environment())
        passed, failed, skipped = counts(report)
    # A run that failed without a failed test, or found none at all, is a failure too.
    failed = failed or int(code != 0)
    reasons = [line for line in log.splitlines() if line.startswith("SKIPPED")]
    note = "\n".join([f"{skipped} skipped", *reasons]) if skipped else ""
    return Result(directory, passed, failed, time.monotonic() - start, log, note)


def unit() -> Result:
    return pytest("tests/unit", "-n", "auto")


def integration() -> Result:
    return pytest("tests/integration")


def scenarios() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


def molecule_command(scenario: str, action: str, platform: str = "") -> tuple[list[str], dict[str, str]]:
    """The command for one scenario, whose state stays in this work tree."""
    command = ["molecule", action, "--scenario-name", scenario]
    if platform:
        command += ["--platform-name", f"flaskops-{scenario}-{platform}"]
    return command, tool_environment(MOLECULE_EPHEMERAL_DIRECTORY=str(CACHE / "molecule" / scenario), COLUMNS="160")


def molecule(scenario: str) -> Result:
    result = command_result(f"molecule {scenario}", *molecule_command(scenario, "test"))
    # Molecule passes over a step whose playbook is missing.
    return replace(result, passed=0, failed=1) if "Missing playbook" in result.log else result


def in_containers(parts: list[str]) -> Iterator[Result]:
    """What waits for the network and for services as long as it computes: one for each processor keeps them busy."""
    names = scenarios() if "molecule" in parts else []
    together = sorted((name for name in names if name not in ALONE), key=lambda name: name not in LONGEST)
    jobs = [partial(molecule, name) for name in together]
    if "integration" in parts:
        jobs.insert(1, integration)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in as_completed([pool.submit(job) for job in jobs]):
            yield done.result()
    yield from (molecule(name) for name in names if name in ALONE)


def show(result: Result) -> None:
    if result.failed:
        say(f"\n----- {result.name} -----\n{result.log.rstrip()}\n----- {result.name}: failed -----\n")
    outcome = f"{result.passed} passed, {result.failed} failed" if result.passed + result.failed > 1 else ""
    words = [outcome or ("failed" if result.failed else "passed"), f"{result.seconds:.0f} s", result.note]
    say(f"{result.name:<24} {', '.join(word for word in words if word)}")


def test(parts: list[str]) -> bool:
    setup()
    results: list[Result] = []

    def collect(part: Iterable[Result]) -> None:
        for result in part:
            results.append(result)
            show(result)

    # The images come over the network while the processors lint.
    with ThreadPoolExecutor() as pool:
        images = pool.submit(build_images) if {"integration", "molecule"} & set(parts) else None
        if "lint" in parts:
            collect(lint())
        if "unit" in parts:
            collect([unit()])
        if images:
            images.result()
    collect(in_containers(parts))
    passed, failed = sum(r.passed for r in results), sum(r.failed for r in results)
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed == 0


def scenario(name: str, action: str, platform: str) -> None:
    """Run one action of one scenario in the foreground, as while writing a role."""
    setup()
    build_images(*([platform] if platform else []))
    command, environment = molecule_command(name, action, platform)
    os.chdir(ROOT)
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help=", ".join(PARTS))
    parser.add_argument("--scenario", choices=scenarios(), help="run one Molecule scenario, in the foreground")
    parser.add_argument("--action", default="test", help="Molecule's action: test, converge, verify, login, destroy …")
    parser.add_argument("--platform", default="", choices=["", *SUITES], help="on one platform only")
    arguments = parser.parse_args()
    if arguments.scenario:
        scenario(arguments.scenario, arguments.action, arguments.platform)
    sys.exit(not test(arguments.parts or list(PARTS)))
