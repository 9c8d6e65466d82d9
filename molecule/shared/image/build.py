"""Build missing images of the test hosts: build.py [debian12] [ubuntu2404] …

The base is Docker Hub's image. Where no registry answers, debootstrap makes one of Debian (as root). There is none of
Ubuntu then, and the tests that need it are skipped.
An image is tagged flaskops-target:debian12-<digest of this directory>, and flaskops-target:debian12 follows it; the
one with an SSH server is flaskops-target:debian12-ssh, and the one that also has the packages which the roles install
is flaskops-target:debian12-ready.
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

import containers
from docker_up import install_packages, start_docker
from environment import docker, fail, print_progress

HERE = Path(__file__).resolve().parent
# Platforms that can be built on any controller, and those that require a registry.
SUITES = {"debian12": "bookworm", "debian13": "trixie"}
PULLED = {"ubuntu2204": "ubuntu:22.04", "ubuntu2404": "ubuntu:24.04", "ubuntu2604": "ubuntu:26.04"}
MIRROR = "http://deb.debian.org"
STAGES = ("target", "ssh", "ready")
RECIPE = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in ("Dockerfile", "build.py"))).hexdigest()[:12]


def image(name: str, ssh: bool = False, ready: bool = False) -> str:
    return tag(name, "ready" if ready else "ssh" if ssh else "target")


def tag(name: str, stage: str, recipe: str = RECIPE) -> str:
    return "-".join(filter(None, (f"flaskops-target:{name}", "" if stage == "target" else stage, recipe)))


def exists(name: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", name], check=False, capture_output=True).returncode == 0


def bootstrap(name: str, base_tag: str) -> None:
    """Build the base image from Debian's packages."""
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


def is_available(official: str) -> bool:
    """Return whether an image exists locally, or can be pulled from a registry."""
    command = ["docker", "pull", "-q", official]
    return exists(official) or subprocess.run(command, check=False, capture_output=True).returncode == 0


def find_missing_reason(name: str) -> str:
    """Return the reason why a platform's image is not available, or an empty string."""
    if name in SUITES or is_built(name) or is_available(PULLED[name]):
        return ""
    return f"No registry gives {PULLED[name]}"


def base(name: str) -> str:
    """Return the tag of a platform's base image, which is pulled or built if it is missing."""
    official, own = PULLED.get(name) or name.replace("debian", "debian:"), f"flaskops-base:{name}"
    if exists(own):
        return own
    if is_available(official):
        return official
    if name in PULLED:
        fail(find_missing_reason(name))
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        fail(f"No registry gives {official}, and making it here takes root and the command debootstrap.")
    bootstrap(name, own)
    return own


def build_stage(name: str, stage: str) -> str:
    # Each version of Docker has the classic builder, which is sufficient for this recipe.
    environment = os.environ | {"DOCKER_BUILDKIT": "0"}
    options = ["--quiet", f"--target={stage}", f"--build-arg=BASE={base(name)}"]
    return docker("build", *options, str(HERE), env=environment)


def build(name: str) -> None:
    if not is_built(name):
        print_progress(f"Building the images of a {name} host (a minute or two, once) …")
        identity = build_stage(name, "target")
        # Fail here if the host does not boot, and not in the first role that needs systemd.
        containers.remove(containers.start(identity))
        docker("tag", identity, tag(name, "target"))
        for stage in STAGES[1:]:
            docker("tag", build_stage(name, stage), tag(name, stage))
    for stage in STAGES:
        docker("tag", tag(name, stage), tag(name, stage, recipe=""))


def is_built(name: str) -> bool:
    return all(exists(tag(name, stage)) for stage in STAGES)


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
        fail(f"{', '.join(sorted(unknown))}: not known; there are {', '.join([*SUITES, *PULLED])}.")
    build_images(*sys.argv[1:])
