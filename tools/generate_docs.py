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
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs/site"))

from terminal_picture import terminal_picture

ROOT = Path(__file__).resolve().parent.parent
ROLES = ("flask_app", "layout", "venv", "gunicorn_systemd", "nginx_site", "release")
KINDS = "roles|variables|findings|sandbox"
BLOCK = re.compile(rf"(<!-- ({KINDS}):begin((?: [a-z0-9_]+)*) -->\n)(.*?)(<!-- \2:end -->)", re.DOTALL)
# Ansible's semantic markup: a letter, and what is in parentheses, in which a backslash keeps the next character.
MARKUP = re.compile(r"\b([BCEIMOPUV]|RV)\(((?:\\.|[^\\)])*)\)")


def argument_spec(role: str) -> dict:
    """The specification, with defaults that only defaults/main.yml has, because they follow from other variables."""
    directory = ROOT / "roles" / role
    spec = yaml.safe_load((directory / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    defaults = yaml.safe_load((directory / "defaults/main.yml").read_text()) or {}
    for name, option in spec["options"].items():
        if option["type"] != "str" and name in defaults:
            option.setdefault("default", defaults[name])
    return spec


def documents() -> list[Path]:
    readmes = [ROOT / "roles" / role / "README.md" for role in ROLES]
    return [*readmes, *(ROOT / "docs" / name for name in ("settings.md", "doctor.md", "security.md"))]


def pictures() -> dict[Path, str]:
    """The pictures of terminals. A recording is the output of a real run; its first line is the picture's title."""
    found = {}
    for recording in (ROOT / "docs/site").glob("*.txt"):
        title, __, text = recording.read_text().partition("\n\n")
        found[ROOT / f"docs/images/{recording.stem}.svg"] = terminal_picture(title, text)
    return found


def role_link(role: str, document: Path) -> str:
    """A link to the role's README."""
    return f"[{role}]({os.path.relpath(ROOT / 'roles' / role / 'README.md', document.parent)})"


def code(text: str) -> str:
    """Text as Markdown code. A pipe would end the table's cell, in code too."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")


def markdown(text: str, document: Path) -> str:
    """A description in Ansible's markup as one line of Markdown."""

    def render(match: re.Match) -> str:
        kind, value = match[1], re.sub(r"\\(.)", r"\1", match[2])
        if kind == "P" and value.startswith("flaskops.production.") and value.endswith("#role"):
            return role_link(value.split(".")[2].removesuffix("#role"), document)
        if kind in ("B", "I"):
            return f"**{value}**" if kind == "B" else f"*{value}*"
        if kind in ("O", "RV"):
            # Another role's option is named with the role in front of it.
            value = value.rpartition(":")[2].replace("=", ": ", 1)
        return code(value.split("#")[0] if kind in ("M", "P") else value)

    return MARKUP.sub(render, " ".join(text.split()))


def description(option: dict) -> list[str]:
    found = option["description"]
    return [found] if isinstance(found, str) else found


def default(option: dict) -> str:
    if option.get("required"):
        return "required"
    if "default" not in option:
        return "none"
    value = option["default"]
    plain = isinstance(value, str) and value and not value.isdigit()
    return code(value if plain else json.dumps(value, ensure_ascii=False))


def kind(option: dict) -> str:
    return f"list of {option['elements']}" if "elements" in option else option["type"]


def choices(option: dict) -> str:
    return f" One of {', '.join(code(choice) for choice in option['choices'])}." if "choices" in option else ""


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def role_table(document: Path) -> str:
    rows = [[role_link(role, document), markdown(argument_spec(role)["short_description"], document)] for role in ROLES]
    return table(["Role", "Purpose"], rows)


def variable_table(document: Path, names: list[str]) -> str:
    """All variables of the document's role, or the named ones of all roles, in brief."""
    if not names:
        rows = []
        for name, option in argument_spec(document.parent.name)["options"].items():
            text = " ".join(markdown(sentence, document) for sentence in description(option))
            rows.append([code(name), kind(option), default(option), text + choices(option)])
        return table(["Variable", "Type", "Default", "Description"], rows)
    options = {name: option for role in ROLES for name, option in argument_spec(role)["options"].items()}
    rows = []
    for name in names:
        if name not in options:
            sys.exit(f"{document}: {name} is no variable of a role.")
        first = re.split(r"(?<=[.]) (?=[A-Z])", " ".join(description(options[name])[0].split()))[0]
        rows.append([code(name), default(options[name]), markdown(first, document) + choices(options[name])])
    return table(["Variable", "Default", "Meaning"], rows)


def finding_sections() -> str:
    """A section for each finding, by theme."""
    spec = importlib.util.spec_from_file_location("catalog", ROOT / "plugins/module_utils/_doctor_catalog.py")
    catalog = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(catalog)
    parts = []
    for theme, kinds in catalog.KINDS_BY_THEME.items():
        parts.append(f"## {theme}\n")
        for name, kind in kinds.items():
            remedy = re.sub(r"\{(\w+)\}", r"<\1>", kind.remedy.replace("{{", "{").replace("}}", "}"))
            parts.append(f"### {name}\n\n**{kind.title}** ({kind.severity}). {kind.reason}\n\nRemedy: {code(remedy)}\n")
    return "\n" + "\n".join(parts) + "\n"


def sandbox_table() -> str:
    """The directives of the sandbox. The comment above a group of them is its reason."""
    text = (ROOT / "roles/gunicorn_systemd/vars/main.yml").read_text()
    block = re.search(r"^__gunicorn_systemd_sandbox:\n((?: .*\n)+)", text, re.MULTILINE)[1]
    values = yaml.safe_load(block)
    rows: list[list[str]] = []
    for comment, directives in re.findall(r"((?:  # .*\n)+)((?:  \w+: .*\n)+)", block):
        names = [line.split(":")[0] for line in directives.split("\n  ")]
        reason = " ".join(line.removeprefix("  # ") for line in comment.splitlines())
        rows.append(
            [", ".join(shown for name in names for shown in directive(name.strip(), values.pop(name.strip()))), reason]
        )
    if values:
        sys.exit(f"These directives of the sandbox have no reason: {', '.join(values)}.")
    return table(["Directive", "Reason"], rows)


def directive(name: str, value: object) -> list[str]:
    """A directive as it stands in a unit, once for each of its values."""
    if value is True:
        return [code(name)]
    return [code(f"{name}={one}") for one in (value or [""] if isinstance(value, list) else [value])]


def content(kind: str, document: Path, names: list[str]) -> str:
    if kind == "roles":
        return role_table(document)
    if kind == "sandbox":
        return sandbox_table()
    return finding_sections() if kind == "findings" else variable_table(document, names)


def generate(document: Path) -> str:
    """The document's text with its tables as they should be."""

    def fill(match: re.Match) -> str:
        return f"{match[1]}{content(match[2], document, match[3].split())}{match[5]}"

    return BLOCK.sub(fill, document.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a table is stale")
    check = parser.parse_args().check
    wanted = {document: generate(document) for document in documents()} | pictures()
    stale = {path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text}
    for document, text in stale.items():
        print(f"{document.relative_to(ROOT)} {'is stale' if check else 'written'}")
        if not check:
            document.write_text(text)
    if check and stale:
        sys.exit("Write them again: make docs-tables")


if __name__ == "__main__":
    main()
