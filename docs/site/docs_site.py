"""Build the documentation site in .cache/docs/html. Warnings are errors.

The pages are the Markdown files of the repository. They are copied to .cache/docs/source with adjusted links.
antsibull-docs adds a page for each role, module and plugin, and Sphinx renders all pages. docs/README.md is the home
page, and its lists are the navigation.
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

from environment import CACHE, ROOT, fail, print_progress, tool_environment

HERE = Path(__file__).resolve().parent
SITE = CACHE / "docs"
SOURCE = SITE / "source"
HTML = SITE / "html"
REFERENCE = "reference"
REPOSITORY = "https://github.com/flaskops/production"
# Links within the repository. Links to files that the built collection lacks are URLs.
LINK = re.compile(rf"(?<=\]\()(?={REPOSITORY}/(?:blob|tree)/main/|(?![a-z]+:|#))([^)#\s]+)")
FENCE = re.compile(r"^( *)(```+).*?^\1\2$", re.DOTALL | re.MULTILINE)
ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)#\s]+)[)#]")
CONTENTS = re.compile(r"^\.\. contents::.*\n(?: +:.*\n)*", re.MULTILINE)
PLUGIN = re.compile(r"^( +)(\w+)_(module|filter|lookup|role)$", re.MULTILINE)
# The entries of an index, and those of its navigation.
ENTRIES = re.compile(r"(?:^\* :ansplugin:.*\n)+|(?:^ +\w+ \w+ <\w+>\n)+", re.MULTILINE)
INTERNAL = re.compile(r"^\* :ansplugin:`(\w+ \w+) <.*\(internal to the roles\)$", re.MULTILINE)
VARIABLES = re.compile(r"<!-- variables:begin -->\n.*<!-- variables:end -->\n", re.DOTALL)


def map_pages() -> dict[str, str]:
    """Return the path on the site for each page of the repository."""
    found = {"README.md": "overview.md", "docs/README.md": "index.md", "CHANGELOG.rst": "changelog.rst"}
    found |= {"SECURITY.md": "security-policy.md", "CODE_OF_CONDUCT.md": "code-of-conduct.md"}
    for path in sorted(ROOT.glob("docs/**/*.md")):
        name = path.relative_to(ROOT).as_posix()
        found.setdefault(name, name.removeprefix("docs/"))
    for group in ("roles", "examples"):
        for path in sorted(ROOT.glob(f"{group}/*/README.md")):
            found[path.relative_to(ROOT).as_posix()] = f"{group}/{path.parent.name}.md"
    return found


def resolve_link(link: str, page: str, places: dict[str, str]) -> str:
    """Convert a link of a file in the repository to a link to the page on the site, or to the repository."""
    if link.startswith(f"{REPOSITORY}/"):
        target = re.sub(r"^(blob|tree)/main/", "", link.removeprefix(f"{REPOSITORY}/"))
    else:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if target in places:
        return posixpath.relpath(places[target], posixpath.dirname(places[page]) or ".")
    if target.startswith("docs/images/"):
        return posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(places[page]) or ".")
    if not (ROOT / target).exists():
        fail(f"{page}: the link {link} is broken.")
    return f"{REPOSITORY}/{'tree' if (ROOT / target).is_dir() else 'blob'}/main/{target}"


def change_outside_code(text: str, change) -> str:
    """Apply `change` to the text outside code blocks."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def build_navigation(text: str, page: str, places: dict[str, str]) -> str:
    """Convert the lists of the home page to Sphinx's tables of contents, one for each heading."""
    parts = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, __, body = section.partition("\n")
        entries = [match for line in body.splitlines() if (match := ENTRY.match(line))]
        names = [f"Roles, modules, plugins <{REFERENCE}/index>"] * (heading == "Reference")
        names += [f"{entry[1]} <{resolve_link(entry[2], page, places)}>" for entry in entries]
        listed = "\n".join(names)
        parts.append(f"```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{listed}\n```\n")
    return "\n".join(parts)


def convert_page(page: str, places: dict[str, str]) -> str:
    """Convert the text of a page for Sphinx."""
    text = (ROOT / page).read_text()
    if page.endswith(".rst"):
        return CONTENTS.sub("", text)
    links = change_outside_code(text, lambda part: LINK.sub(lambda match: resolve_link(match[1], page, places), part))
    if page.startswith("roles/"):
        target = f"../{REFERENCE}/{page.split('/')[1]}_role.rst"
        return VARIABLES.sub(f"The [reference]({target}) has all of them, with types and defaults.\n", links)
    return f"{links}\n{build_navigation(text, page, places)}" if page == "docs/README.md" else links


def write_if_changed(path: Path, content: bytes) -> None:
    """Write a file only if its content changes, because Sphinx reads new files again."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def stage_pages() -> None:
    places = map_pages()
    contents = {place: convert_page(page, places).encode() for page, place in places.items()}
    contents["conf.py"] = (HERE / "conf.py").read_bytes()
    contents["_static/site.css"] = (HERE / "site.css").read_bytes()
    for image in ROOT.glob("docs/images/*"):
        contents[f"images/{image.name}"] = image.read_bytes()
    for name, content in contents.items():
        write_if_changed(SOURCE / name, content)
    for path in SOURCE.rglob("*"):
        name = path.relative_to(SOURCE)
        if path.is_file() and name.parts[0] != REFERENCE and str(name) not in contents:
            path.unlink()


def convert_reference(text: str) -> str:
    """Convert a page of antsibull-docs for this site.

    Names in the navigation are shortened. The table of contents is removed, because it is beside every page. An index
    lists the public plugins before the internal ones.
    """
    page = PLUGIN.sub(r"\1\2 \3 <\2_\3>", CONTENTS.sub("", text))
    internal = set(INTERNAL.findall(page))

    def is_internal(line: str) -> bool:
        return re.split(r" <", line.strip().removeprefix("* :ansplugin:`"))[0] in internal

    return ENTRIES.sub(lambda entries: "".join(sorted(entries[0].splitlines(True), key=is_internal)), page)


class PageParser(HTMLParser):
    """Collect the links and the link targets of a page."""

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


def find_broken_links(html: Path) -> list[str]:
    """Return the broken links within the built pages, each with its page."""
    pages = {path.resolve(): PageParser(path.read_text()) for path in html.rglob("*.html")}
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


def run_command(*command: str | Path) -> None:
    if subprocess.run(command, check=False, env=tool_environment()).returncode:
        sys.exit(1)


def build_site() -> None:
    stage_pages()
    place = SOURCE / REFERENCE
    place.mkdir(mode=0o700, exist_ok=True)
    options = ["--use-current", "--squash-hierarchy", "--fail-on-error", "--cleanup=similar-files"]
    options += ["--no-add-antsibull-docs-version", f"--dest-dir={place}"]
    run_command("antsibull-docs", "collection", *options, "flaskops.production")
    for path in place.glob("*.rst"):
        write_if_changed(path, convert_reference(path.read_text()).encode())
    # Write all pages, because each of them holds the navigation.
    sphinx = ["--builder=html", "--fail-on-warning", "--keep-going", "--jobs=auto", "--quiet", "--write-all"]
    run_command("sphinx-build", *sphinx, f"--doctree-dir={SITE / 'doctrees'}", SOURCE, HTML)
    if broken := find_broken_links(HTML):
        fail("Broken links:\n" + "\n".join(broken))
    print_progress(f"The site is in {(HTML / 'index.html').relative_to(ROOT)}.")


if __name__ == "__main__":
    build_site()
