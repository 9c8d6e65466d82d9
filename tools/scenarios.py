"""The Molecule scenarios, each a process of its own whose state stays in this work tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from environment import CACHE, ROOT, VENV, tool_environment
from results import Result, command_result

# Looked for by itself, it is not found by every Molecule in a work tree that git has added.
BASE = ".config/molecule/config.yml"


def names() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


def command(name: str, action: str, platform: str = "", tools: Path = VENV, suffix: str = "") -> tuple[list[str], dict]:
    """How to run an action of a scenario. The suffix tells its hosts from those of another run beside it."""
    words = [str(tools / "bin/molecule"), "--base-config", BASE, action, "--scenario-name", name]
    if platform:
        words += ["--platform-name", f"flaskops-{name}{suffix}-{platform}"]
    settings = tool_environment(
        MOLECULE_EPHEMERAL_DIRECTORY=str(CACHE / "molecule" / f"{name}{suffix}"),
        ANSIBLE_HOME=str(CACHE / f"ansible{suffix}"),
        FLASKOPS_MATRIX=suffix,
        COLUMNS="160",
    )
    return words, settings | {"PATH": f"{tools / 'bin'}:{settings['PATH']}"}


def molecule(name: str, title: str = "", tools: Path = VENV, suffix: str = "") -> Result:
    words, settings = command(name, "test", tools=tools, suffix=suffix)
    result = command_result(title or f"molecule {name}", words, settings)
    # Molecule passes over a step whose playbook is missing.
    return replace(result, passed=0, failed=1) if "Missing playbook" in result.log else result
