"""Running one test after another's fashion: what a test is, how it ends, and how that is told."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from environment import ROOT, VENV, say, tool_environment


@dataclass(frozen=True)
class Result:
    name: str
    passed: int
    failed: int
    seconds: float
    log: str
    note: str = ""
    skipped: int = 0


def run(command: list[str], environment: dict[str, str], directory: Path = ROOT) -> tuple[int, str]:
    done = subprocess.run(
        command, check=False, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.decode(errors="replace")


def command_result(name: str, command: list[str], environment: dict[str, str], directory: Path = ROOT) -> Result:
    """One command, which is one test."""
    start = time.monotonic()
    code, log = run(command, environment, directory)
    return Result(name, int(code == 0), int(code != 0), time.monotonic() - start, log)


def skipped(name: str, reason: str) -> Result:
    """A test that can't be run here. It is told and counted, never passed over."""
    return Result(name, 0, 0, 0, "", reason, skipped=1)


def counts(reports: list[Path]) -> tuple[int, int, int]:
    """Tests passed, failed and skipped, from pytest's own reports."""
    suites = [suite for report in reports for suite in ElementTree.parse(report).getroot().iter("testsuite")]
    tests, failures, errors, passed_over = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return tests - failed - passed_over, failed, passed_over


def tests_result(name: str, code: int, log: str, seconds: float, reports: list[Path]) -> Result:
    passed, failed, passed_over = counts(reports)
    # A run that failed without a failed test, or found none at all, is a failure too.
    failed = failed or int(code != 0 or not passed)
    reasons = [line for line in log.splitlines() if line.startswith("SKIPPED")]
    note = "\n".join([f"{passed_over} skipped", *reasons]) if passed_over else ""
    return Result(name, passed, failed, seconds, log, note, passed_over)


def pytest(name: str, *arguments: str) -> Result:
    """Tests that pytest runs, each of which counts."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.xml"
        command = [str(VENV / "bin/python"), "-m", "pytest", *arguments, f"--junit-xml={report}"]
        code, log = run(command, tool_environment())
        return tests_result(name, code, log, time.monotonic() - start, [report] if report.exists() else [])


def show(result: Result) -> None:
    if result.failed:
        say(f"\n----- {result.name} -----\n{result.log.rstrip()}\n----- {result.name}: failed -----\n")
    single = result.passed + result.failed + result.skipped == 1
    outcome = "failed" if result.failed else "passed" if result.passed else "skipped"
    words = [
        outcome if single else f"{result.passed} passed, {result.failed} failed",
        f"{result.seconds:.0f} s",
        result.note,
    ]
    say(f"{result.name:<28} {', '.join(word for word in words if word)}")


def total(results: list[Result]) -> str:
    """The last line of a run."""
    passed, failed, passed_over = (sum(getattr(r, name) for r in results) for name in ("passed", "failed", "skipped"))
    return f"{passed} passed, {failed} failed" + (f", {passed_over} skipped" if passed_over else "")
