"""Build the documentation's site: .cache/docs/html. A warning is a failure.

The pages are the Markdown files that are also read in the repository. They are copied to .cache/docs/source, where
their links are made to fit; antsibull-docs adds a page for each role, module and plugin, and Sphinx renders all of it.
docs/README.md is the home page, and its lists are the navigation.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from environment import CACHE, ROOT, fail, say, tool_environment

HERE = Path(__file__).resolve().parent
SITE = CACHE / "docs"
SOURCE = SITE / "source"
HTML = SITE / "html"
REFERENCE = "reference"
REPOSITORY = "https://github.com/flaskops/production"
# Links within the repository. Those to files that the built collection lacks are addresses.
LINK = re.compile(rf"(?<=\]\()(?={REPOSITORY}/(?:blob|tree)/main/|(?![a-z]+:|#))([^)#\s]+)")
FENCE = re.compile(r"^( *)(```+).*?^\1\2$", re.DOTALL | re.MULTILINE)
ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)#\s]+)[)#]")
CONTENTS = re.compile(r"^\.\. contents::.*\n(?: +:.*\n)*", re.MULTILINE)
PLUGIN = re.compile(r"^( +)(\w+)_(module|filter|lookup|role)$", re.MULTILINE)
# The entries of an index, and those of its navigation.
ENTRIES = re.compile(r"(?:^\* :ansplugin:.*\n)+|(?:^ +\w+ \w+ <\w+>\n)+", re.MULTILINE)
INTERNAL = re.compile(r"^\* :ansplugin:`(\w+ \w+) <.*\(internal to the roles\)$", re.MULTILINE)
VARIABLES = re.compile(r"<!-- variables:begin -->\n.*<!-- variables:end -->\n", re.DOTALL)


def pages() -> dict[str, str]:
    """Where each file of the repository is on the site."""
    found = {"README.md": "overview.md", "docs/README.md": "index.md", "CHANGELOG.rst": "changelog.rst"}
    found |= {"SECURITY.md": "security-policy.md", "CODE_OF_CONDUCT.md": "code-of-conduct.md"}
    for path in sorted(ROOT.glob("docs/**/*.md")):
        name = path.relative_to(ROOT).as_posix()
        found.setdefault(name, name.removeprefix("docs/"))
    for group in ("roles", "examples"):
        for path in sorted(ROOT.glob(f"{group}/*/README.md")):
            found[path.relative_to(ROOT).as_posix()] = f"{group}/{path.parent.name}.md"
    return found


def resolved(link: str, page: str, places: dict[str, str]) -> str:
    """A link of a file in the repository as it is on the site: to the page there, or to the repository."""
    if link.startswith(f"{REPOSITORY}/"):
        target = re.sub(r"^(blob|tree)/main/", "", link.removeprefix(f"{REPOSITORY}/"))
    else:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if target in places:
        return posixpath.relpath(places[target], posixpath.dirname(places[page]) or ".")
    if target.startswith("docs/images/"):
        return posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(places[page]) or ".")
    if not (ROOT / target).exists():
        fail(f"{page}: the link {link} leads nowhere.")
    return f"{REPOSITORY}/{'tree' if (ROOT / target).is_dir() else 'blob'}/main/{target}"


def outside_code(text: str, change) -> str:
    """The text, changed everywhere but in its code blocks."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def navigation(text: str, page: str, places: dict[str, str]) -> str:
    """The lists of the home page as Sphinx's tables of contents, one for each heading."""
    parts = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, __, body = section.partition("\n")
        entries = [match for line in body.splitlines() if (match := ENTRY.match(line))]
        names = [f"Roles, modules, plugins <{REFERENCE}/index>"] * (heading == "Reference")
        names += [f"{entry[1]} <{resolved(entry[2], page, places)}>" for entry in entries]
        listed = "\n".join(names)
        parts.append(f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{listed}\n```\n")
    return "\n".join(parts)


def staged(page: str, places: dict[str, str]) -> str:
    """The text of a page for Sphinx."""
    text = (ROOT / page).read_text()
    if page.endswith(".rst"):
        return CONTENTS.sub("", text)
    links = outside_code(text, lambda part: LINK.sub(lambda match: resolved(match[1], page, places), part))
    if page.startswith("roles/"):
        target = f"../{REFERENCE}/{page.split('/')[1]}_role.rst"
        return VARIABLES.sub(f"The [reference]({target}) has all of them, with types and defaults.\n", links)
    return f"{links}\n{navigation(text, page, places)}" if page == "docs/README.md" else links


def write(path: Path, content: bytes) -> None:
    """Leave a file alone that is right already: Sphinx reads again what is new."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def stage() -> None:
    places = pages()
    contents = {place: staged(page, places).encode() for page, place in places.items()}
    contents["conf.py"] = (HERE / "conf.py").read_bytes()
    contents["_static/site.css"] = (HERE / "site.css").read_bytes()
    for image in ROOT.glob("docs/images/*"):
        contents[f"images/{image.name}"] = image.read_bytes()
    for name, content in contents.items():
        write(SOURCE / name, content)
    for path in SOURCE.rglob("*"):
        name = path.relative_to(SOURCE)
        if path.is_file() and name.parts[0] != REFERENCE and str(name) not in contents:
            path.unlink()


def reference(text: str) -> str:
    """A page of antsibull-docs as it suits this site: with short names in the navigation, without a table of contents,
    which is beside every page. An index lists the public plugins before the internal ones."""
    page = PLUGIN.sub(r"\1\2 \3 <\2_\3>", CONTENTS.sub("", text))
    internal = set(INTERNAL.findall(page))

    def is_internal(line: str) -> bool:
        return re.split(r" <", line.strip().removeprefix("* :ansplugin:`"))[0] in internal

    return ENTRIES.sub(lambda entries: "".join(sorted(entries[0].splitlines(True), key=is_internal)), page)


class Page(HTMLParser):
    """The links of a page and the names that a link to it can have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.names.add(value)


def broken_links(html: Path) -> list[str]:
    """Links within the built pages that lead nowhere, each with its page."""
    pages = {path.resolve(): Page(path.read_text()) for path in html.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme or parts.netloc:
                continue
            named = not parts.fragment or target not in pages or parts.fragment in pages[target].names
            if not target.exists() or not named:
                broken.append(f"{path.relative_to(html.resolve())}: {link}")
    return broken


def run(*command: str | Path) -> None:
    if subprocess.run(command, check=False, env=tool_environment()).returncode:
        sys.exit(1)


def build() -> None:
    stage()
    place = SOURCE / REFERENCE
    place.mkdir(mode=0o700, exist_ok=True)
    options = ["--use-current", "--squash-hierarchy", "--fail-on-error", "--cleanup=similar-files"]
    options += ["--no-add-antsibull-docs-version", f"--dest-dir={place}"]
    run("antsibull-docs", "collection", *options, "flaskops.production")
    for path in place.glob("*.rst"):
        write(path, reference(path.read_text()).encode())
    # All pages are written, because the navigation is on each of them.
    sphinx = ["--builder=html", "--fail-on-warning", "--keep-going", "--jobs=auto", "--quiet", "--write-all"]
    run("sphinx-build", *sphinx, f"--doctree-dir={SITE / 'doctrees'}", SOURCE, HTML)
    if broken := broken_links(HTML):
        fail("Links that lead nowhere:\n" + "\n".join(broken))
    say(f"The site is in {(HTML / 'index.html').relative_to(ROOT)}.")


if __name__ == "__main__":
    build()
