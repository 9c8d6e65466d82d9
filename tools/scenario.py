"""Run an action of one Molecule scenario: scenario.py <name> [--action converge] [--platform debian13]"""

from __future__ import annotations

import argparse
import os
import sys

from environment import CACHE, ROOT, VENV, tool_environment

sys.path.insert(0, str(ROOT / "molecule/shared/image"))
from build import PULLED, SUITES, build_images

# Scenarios that compare hosts, so they always have two.
TWO_HOST_SCENARIOS = ("doctor", "fleet")
NAMES = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


def build_command(name: str, action: str, platform: str = "") -> tuple[list[str], dict[str, str]]:
    """Return the command and its environment. FLASKOPS_MATRIX distinguishes the hosts of concurrent runs."""
    suffix = os.environ.get("FLASKOPS_MATRIX", "")
    # Molecule does not find this file in a linked work tree.
    options = ["--base-config", ".config/molecule/config.yml"]
    words = [str(VENV / "bin/molecule"), *options, action, "--scenario-name", name]
    if platform and not (platform in PULLED and name in TWO_HOST_SCENARIOS):
        words += ["--platform-name", f"flaskops-{name}{suffix}-{platform}"]
    # Concurrent runs of a scenario have separate state directories.
    state = CACHE / "molecule" / "-".join(filter(None, (f"{name}{suffix}", platform)))
    settings = {"MOLECULE_EPHEMERAL_DIRECTORY": str(state), "FLASKOPS_MATRIX": suffix, "COLUMNS": "160"}
    if platform in PULLED:
        # The platform replaces Debian 12 in the names of hosts and images.
        settings["FLASKOPS_PLATFORM"] = platform
    return words, tool_environment(**settings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--action", default="test", help="Molecule's: test, converge, verify, login, destroy …")
    parser.add_argument("--platform", default="", choices=["", *SUITES, *PULLED], help="default: all of the scenario's")
    arguments = parser.parse_args()
    build_images(
        *([arguments.platform] if arguments.platform else []), *(SUITES if arguments.name in TWO_HOST_SCENARIOS else [])
    )
    words, environment = build_command(arguments.name, arguments.action, arguments.platform)
    os.chdir(ROOT)
    os.execvpe(words[0], words, environment)
