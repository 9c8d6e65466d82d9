"""Write the generated tables and pictures of roles/*/README.md and docs/; with --check, only compare.

A table stands between two comments. The first one names its content:

    <!-- roles:begin -->                              every role
    <!-- variables:begin -->                          every variable of the role that the file belongs to
    <!-- variables:begin flask_app_name … -->         these variables, with the first sentence of each description
    <!-- findings:begin -->                           every finding of the doctor
    <!-- sandbox:begin -->                            every directive of the application's sandbox, with its reason
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs/site"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / ".cache/collections"))

from terminal_picture import draw_terminal

from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import KINDS_BY_THEME

ROOT = Path(__file__).resolve().parent.parent
ROLES = ("flask_app", "layout", "venv", "gunicorn_systemd", "nginx_site", "release")
KINDS = "roles|variables|findings|sandbox"
BLOCK = re.compile(rf"(<!-- ({KINDS}):begin((?: [a-z0-9_]+)*) -->\n)(.*?)(<!-- \2:end -->)", re.DOTALL)
# Ansible's semantic markup: a letter and an argument in parentheses, in which a backslash escapes the next character.
MARKUP = re.compile(r"\b([BCEIMOPUV]|RV)\(((?:\\.|[^\\)])*)\)")


def read_argument_spec(role: str) -> dict:
    """Read a role's specification. Add defaults that depend on other variables, which only defaults/main.yml has."""
    directory = ROOT / "roles" / role
    spec = yaml.safe_load((directory / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    defaults = yaml.safe_load((directory / "defaults/main.yml").read_text()) or {}
    for name, option in spec["options"].items():
        if option["type"] != "str" and name in defaults:
            option.setdefault("default", defaults[name])
    return spec


def list_documents() -> list[Path]:
    readmes = [ROOT / "roles" / role / "README.md" for role in ROLES]
    return [*readmes, *(ROOT / "docs" / name for name in ("settings.md", "doctor.md", "security.md"))]


def draw_pictures() -> dict[Path, str]:
    """Draw the pictures of terminals from recordings. The first line of a recording is the title."""
    found = {}
    for recording in (ROOT / "docs/site").glob("*.txt"):
        title, __, text = recording.read_text().partition("\n\n")
        found[ROOT / f"docs/images/{recording.stem}.svg"] = draw_terminal(title, text)
    return found


def format_role_link(role: str, document: Path) -> str:
    """Return a link to the role's README."""
    return f"[{role}]({os.path.relpath(ROOT / 'roles' / role / 'README.md', document.parent)})"


def format_code(text: str) -> str:
    """Format text as Markdown code in a table, where pipes must be escaped."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")


def format_markdown(text: str, document: Path) -> str:
    """Convert a description in Ansible's markup to one line of Markdown."""

    def render(match: re.Match) -> str:
        kind, value = match[1], re.sub(r"\\(.)", r"\1", match[2])
        if kind == "P" and value.startswith("flaskops.production.") and value.endswith("#role"):
            return format_role_link(value.split(".")[2].removesuffix("#role"), document)
        if kind in ("B", "I"):
            return f"**{value}**" if kind == "B" else f"*{value}*"
        if kind in ("O", "RV"):
            # The name of another role's option has the role as a prefix.
            value = value.rpartition(":")[2].replace("=", ": ", 1)
        return format_code(value.split("#")[0] if kind in ("M", "P") else value)

    return MARKUP.sub(render, " ".join(text.split()))


def get_description(option: dict) -> list[str]:
    found = option["description"]
    return [found] if isinstance(found, str) else found


def format_default(option: dict) -> str:
    if option.get("required"):
        return "required"
    if "default" not in option:
        return "none"
    value = option["default"]
    plain = isinstance(value, str) and value and not value.isdigit()
    return format_code(value if plain else json.dumps(value, ensure_ascii=False))


def format_type(option: dict) -> str:
    return f"list of {option['elements']}" if "elements" in option else option["type"]


def format_choices(option: dict) -> str:
    return f" One of {', '.join(format_code(choice) for choice in option['choices'])}." if "choices" in option else ""


def format_table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def format_role_table(document: Path) -> str:
    rows = [
        [format_role_link(role, document), format_markdown(read_argument_spec(role)["short_description"], document)]
        for role in ROLES
    ]
    return format_table(["Role", "Purpose"], rows)


def format_variable_table(document: Path, names: list[str]) -> str:
    """Return the table of all variables of the document's role, or a short table of the named variables."""
    if not names:
        rows = []
        for name, option in read_argument_spec(document.parent.name)["options"].items():
            text = " ".join(format_markdown(sentence, document) for sentence in get_description(option))
            rows.append([format_code(name), format_type(option), format_default(option), text + format_choices(option)])
        return format_table(["Variable", "Type", "Default", "Description"], rows)
    options = {name: option for role in ROLES for name, option in read_argument_spec(role)["options"].items()}
    rows = []
    for name in names:
        if name not in options:
            sys.exit(f"{document}: {name} is not a variable of a role.")
        first = re.split(r"(?<=[.]) (?=[A-Z])", " ".join(get_description(options[name])[0].split()))[0]
        rows.append(
            [
                format_code(name),
                format_default(options[name]),
                format_markdown(first, document) + format_choices(options[name]),
            ]
        )
    return format_table(["Variable", "Default", "Meaning"], rows)


def format_findings() -> str:
    """Return a section for each finding, grouped by theme."""
    parts = []
    for theme, kinds in KINDS_BY_THEME.items():
        parts.append(f"## {theme}\n")
        for name, kind in kinds.items():
            remedy = re.sub(r"\{(\w+)\}", r"<\1>", kind.remedy.replace("{{", "{").replace("}}", "}"))
            parts.append(
                f"### {name}\n\n**{kind.title}** ({kind.severity}). {kind.reason}\n\nRemedy: {format_code(remedy)}\n"
            )
    return "\n" + "\n".join(parts) + "\n"


def format_sandbox_table() -> str:
    """Return the table of sandbox directives. The comment above a group of directives is its reason."""
    text = (ROOT / "roles/gunicorn_systemd/vars/main.yml").read_text()
    match = re.search(r"^__gunicorn_systemd_sandbox:\n((?: .*\n)+)", text, re.MULTILINE)
    assert match, "the role has a sandbox"
    block = match[1]
    values = yaml.safe_load(block)
    rows: list[list[str]] = []
    for comment, directives in re.findall(r"((?:  # .*\n)+)((?:  \w+: .*\n)+)", block):
        names = [line.split(":")[0] for line in directives.split("\n  ")]
        reason = " ".join(line.removeprefix("  # ") for line in comment.splitlines())
        rows.append(
            [
                ", ".join(
                    shown for name in names for shown in format_directive(name.strip(), values.pop(name.strip()))
                ),
                reason,
            ]
        )
    if values:
        sys.exit(f"These directives of the sandbox have no reason: {', '.join(values)}.")
    return format_table(["Directive", "Reason"], rows)


def format_directive(name: str, value: object) -> list[str]:
    """Format a directive as in a unit, once for each value."""
    if value is True:
        return [format_code(name)]
    return [format_code(f"{name}={one}") for one in (value or [""] if isinstance(value, list) else [value])]


def generate_table(kind: str, document: Path, names: list[str]) -> str:
    if kind == "roles":
        return format_role_table(document)
    if kind == "sandbox":
        return format_sandbox_table()
    return format_findings() if kind == "findings" else format_variable_table(document, names)


def generate_document(document: Path) -> str:
    """Return the document's text with newly generated tables."""

    def fill(match: re.Match) -> str:
        return f"{match[1]}{generate_table(match[2], document, match[3].split())}{match[5]}"

    return BLOCK.sub(fill, document.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a table is stale")
    check = parser.parse_args().check
    wanted = {document: generate_document(document) for document in list_documents()} | draw_pictures()
    stale = {path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text}
    for document, text in stale.items():
        print(f"{document.relative_to(ROOT)} {'is stale' if check else 'written'}")
        if not check:
            document.write_text(text)
    if check and stale:
        sys.exit("Write them again: make docs-tables")


if __name__ == "__main__":
    main()
