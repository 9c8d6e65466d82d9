"""Build missing images of the test hosts: build.py [debian12] [ubuntu2404] …

The base is Docker Hub's image. If no registry is reachable, debootstrap creates a base image of Debian (as root). There
is no image of Ubuntu then, and the tests that need it are skipped.
An image is tagged flaskops-target:debian12-<digest of the recipe> and flaskops-target:debian12. The image with an SSH
server is flaskops-target:debian12-ssh. The image that also has the packages that the roles install is
flaskops-target:debian12-ready.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))

import docker_hosts
from docker_up import install_packages, start_docker
from environment import docker, fail, print_progress

HERE = Path(__file__).resolve().parent
# Platforms that can be built locally, and platforms that require a registry.
SUITES = {"debian12": "bookworm", "debian13": "trixie"}
PULLED = {"ubuntu2204": "ubuntu:22.04", "ubuntu2404": "ubuntu:24.04", "ubuntu2604": "ubuntu:26.04"}
MIRROR = "http://deb.debian.org"
STAGES = ("target", "ssh", "ready")
RECIPE = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in ("Dockerfile", "build.py"))).hexdigest()[:12]


def image(name: str, ssh: bool = False, ready: bool = False) -> str:
    return format_tag(name, "ready" if ready else "ssh" if ssh else "target")


def format_tag(name: str, stage: str, recipe: str = RECIPE) -> str:
    return "-".join(filter(None, (f"flaskops-target:{name}", "" if stage == "target" else stage, recipe)))


def exists(name: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", name], check=False, capture_output=True).returncode == 0


def bootstrap(name: str, base_tag: str) -> None:
    """Create the base image from Debian's packages."""
    suite = SUITES[name]
    with tempfile.TemporaryDirectory(prefix=f"{suite}-") as temporary:
        root = Path(temporary) / "root"
        command = ["debootstrap", "--variant=minbase", suite, str(root), f"{MIRROR}/debian"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            fail(f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr}")
        lines = [(suite, "debian"), (f"{suite}-updates", "debian"), (f"{suite}-security", "debian-security")]
        (root / "etc/apt/sources.list").write_text("".join(f"deb {MIRROR}/{path} {s} main\n" for s, path in lines))
        shutil.rmtree(root / "var/cache/apt/archives")
        tar = subprocess.Popen(["tar", "-C", root, "--numeric-owner", "-c", "."], stdout=subprocess.PIPE)
        identity = docker("import", "-", stdin=tar.stdout)
        if tar.wait():
            fail(f"tar failed on {root}")
        docker("tag", identity, base_tag)


def pull_image(official: str) -> bool:
    """Return whether an image is on this machine or was pulled from a registry."""
    command = ["docker", "pull", "-q", official]
    return exists(official) or subprocess.run(command, check=False, capture_output=True).returncode == 0


def explain_missing(name: str) -> str:
    """Return the reason why a platform has no image, or an empty string if it has one or can be built."""
    if name in SUITES or is_built(name) or pull_image(PULLED[name]):
        return ""
    return f"No registry provides {PULLED[name]}"


def find_base(name: str) -> str:
    """Return the tag of a platform's base image on this machine. Pull or create the image if it is missing."""
    official, own = PULLED.get(name) or name.replace("debian", "debian:"), f"flaskops-base:{name}"
    if exists(own):
        return own
    if pull_image(official):
        return official
    if name in PULLED:
        fail(explain_missing(name))
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        fail(f"No registry provides {official}. Building it requires root and the command debootstrap.")
    bootstrap(name, own)
    return own


def build_stage(name: str, stage: str) -> str:
    # All versions of Docker have the classic builder, which suffices for this recipe.
    environment = os.environ | {"DOCKER_BUILDKIT": "0"}
    options = ["--quiet", f"--target={stage}", f"--build-arg=BASE={find_base(name)}"]
    return docker("build", *options, str(HERE), env=environment)


def build(name: str) -> None:
    if not is_built(name):
        print_progress(f"Building the images of a {name} host (a minute or two, once) …")
        identity = build_stage(name, "target")
        # If the image does not boot, fail here and not in the first role that needs systemd.
        docker_hosts.remove(docker_hosts.start(identity))
        docker("tag", identity, format_tag(name, "target"))
        for stage in STAGES[1:]:
            docker("tag", build_stage(name, stage), format_tag(name, stage))
    for stage in STAGES:
        docker("tag", format_tag(name, stage), format_tag(name, stage, recipe=""))


def is_built(name: str) -> bool:
    return all(exists(format_tag(name, stage)) for stage in STAGES)


def build_images(*names: str) -> None:
    start_docker()
    wanted = names or tuple(SUITES)
    if (
        any(name in SUITES and not is_built(name) for name in wanted)
        and os.geteuid() == 0
        and shutil.which("apt-get")
        and not shutil.which("debootstrap")
    ):
        install_packages("debootstrap", "debian-archive-keyring")
    with ThreadPoolExecutor() as pool:
        list(pool.map(build, wanted))


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - {*SUITES, *PULLED}
    if unknown:
        fail(f"{', '.join(sorted(unknown))}: unknown platform; accepted are {', '.join([*SUITES, *PULLED])}.")
    build_images(*sys.argv[1:])
