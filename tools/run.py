"""Install the tools and run nox sessions: run.py <session> … [-- <arguments>]. The last line counts the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from xml.etree import ElementTree

from environment import CACHE, ROOT, tool_environment
from packages import install_programs
from setup import VENV, setup

REPORTS = CACHE / "reports"
SESSIONS = CACHE / "sessions.json"


def count_tests(session: dict) -> tuple[int, int, int]:
    """Return the numbers of passed, failed and skipped tests. A session without a test report counts as one test."""
    passed = failed = skipped = 0
    report = REPORTS / f"{session['name']}.xml"
    for suite in ElementTree.parse(report).getroot().iter("testsuite") if report.exists() else ():
        tests, failures, errors, without = (int(suite.get(n, 0)) for n in ("tests", "failures", "errors", "skipped"))
        passed += tests - failures - errors - without
        failed += failures + errors
        skipped += without
    if session["result"] == "success":
        return passed or 1, failed, skipped
    return (passed, failed, skipped + 1) if session["result"] == "skipped" else (passed, failed or 1, skipped)


def main(arguments: list[str]) -> int:
    install_programs()
    setup()
    shutil.rmtree(REPORTS, ignore_errors=True)
    SESSIONS.unlink(missing_ok=True)
    names = arguments[: arguments.index("--")] if "--" in arguments else arguments
    command = [str(VENV / "bin/nox"), "--session", *names, "--report", str(SESSIONS), *arguments[len(names) :]]
    path = os.pathsep.join([str(VENV / "bin"), tool_environment()["PATH"]])
    done = subprocess.run(command, check=False, cwd=ROOT, env=tool_environment(PATH=path))
    ended = json.loads(SESSIONS.read_text())["sessions"] if SESSIONS.exists() else []
    passed, failed, skipped = (sum(column) for column in zip((0, 0, 0), *map(count_tests, ended), strict=True))
    failed = failed or int(done.returncode != 0)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
