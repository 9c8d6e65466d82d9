"""Record the deploy of a broken release in a container, for README.md. Writes docs/site/rejected.txt.

The files are those of docs/getting-started.md. Tasks without a change and details of errors are replaced by "…", and
long lines are wrapped. `make docs-tables` draws the picture.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule/shared/image"))

import docker_hosts
from build import build_images, image
from environment import ROOT, fail, print_progress, tool_environment

PAGE = ROOT / "docs/getting-started.md"
RECORDING = ROOT / "docs/site/rejected.txt"
TITLE = "A deploy of a broken release: the candidate fails, and the live release keeps serving"
FILE = re.compile(r"`([\w./-]+)`[^`\n]*:\n\n```\w+\n(.*?)```", re.DOTALL)
HOST, WIDTH = "web1.example.org", 112
BREAK = """echo 'raise RuntimeError("no such luck")' >> ../hello/wsgi.py"""
# The host has no curl.
READ = "import urllib.request; print(urllib.request.urlopen('http://localhost/').read().decode(), end='')"
DEPLOY = "ansible-playbook -i inventory.yml flaskops.production.deploy"


def extract_excerpt(output: str) -> list[str]:
    """Return the lines of a run's output with its plays, changes, errors and recap."""
    lines: list[str] = []
    for block in re.split(r"\n\n+", output.strip("\n")):
        shown = [line.rstrip() for line in block.splitlines() if not line.startswith("included: ")]
        heading = shown[0]
        if (heading.startswith("TASK") and len(shown) == 1) or re.match(r"NO MORE HOSTS|\d+ |fatal: ", heading):
            continue
        origin = next((number for number, line in enumerate(shown) if line.startswith("Origin: ")), None)
        lines += [*(shown if origin is None else [*shown[:origin], "…"]), ""]
    return lines


def wrap_line(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, break_on_hyphens=False) if len(line) > WIDTH else [line]


def record_deploys(place: Path, container: str) -> list[str]:
    for name, content in FILE.findall(PAGE.read_text()):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    variables = place / "deploy/host_vars" / f"{HOST}.yml"
    variables.parent.mkdir()
    variables.write_text(
        f"ansible_connection: community.docker.docker\nansible_host: {container}\nansible_user: root\n"
    )
    environment = tool_environment(ANSIBLE_CONFIG=str(ROOT / "tools/demo/ansible.cfg"), ANSIBLE_NOCOLOR="true")

    def run(command: str, status: int = 0) -> str:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, check=False, shell=True, cwd=place / "deploy", env=environment, **pipes)
        if done.returncode != status:
            fail(f"$ {command}\n{done.stdout}")
        return done.stdout

    print_progress("Deploying three releases …")
    run("ansible-playbook -i inventory.yml site.yml")
    run("sed -i 's/first/second/' ../hello/wsgi.py")
    run(DEPLOY)
    run(BREAK)
    rejected = run(DEPLOY, status=2)
    answer = subprocess.run(
        ["docker", "exec", container, "python3", "-c", READ], check=True, capture_output=True, text=True
    ).stdout
    return [f"$ {BREAK}", f"$ {DEPLOY}", "", *extract_excerpt(rejected), f"$ curl http://{HOST}/", *answer.splitlines()]


def main() -> None:
    build_images("debian13")
    container = docker_hosts.start(image("debian13"))
    try:
        with tempfile.TemporaryDirectory() as place:
            lines = record_deploys(Path(place), container)
    finally:
        docker_hosts.remove(container)
    RECORDING.write_text("\n".join([TITLE, "", *(part for line in lines for part in wrap_line(line))]) + "\n")
    print_progress(f"Wrote {RECORDING.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
