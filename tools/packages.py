"""The programs that the tests call: installed as root on Debian or Ubuntu, named with their packages elsewhere."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess

from environment import fail, say

# Each program, its Debian package, and the tests that are skipped without it.
PROGRAMS = {
    "chromium": ("chromium", "the doctor's page in a browser"),
    "debootstrap": ("debootstrap", "images of test hosts where no registry answers"),
    "dockerd": ("docker.io", "all tests on hosts"),
    "gpg": ("gpg", "OpenPGP signatures"),
    "gpg-agent": ("gpg-agent", "OpenPGP signatures"),
    "gpgv": ("gpgv", "OpenPGP signatures"),
    "iptables": ("iptables", "all tests on hosts"),
    "minisign": ("minisign", "minisign signatures"),
    "nginx": ("nginx-light", "Nginx sites as Nginx reads them"),
    "shellcheck": ("shellcheck", "the sanity test of shell scripts"),
    "ssh-keygen": ("openssh-client", "SSH signatures and fleets"),
}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def present(program: str) -> bool:
    # A daemon that answers need not be this machine's, and one that does not can be started by root only.
    if program in ("dockerd", "iptables") and (docker_answers() or not may_install()):
        return docker_answers()
    return bool(shutil.which(program))


def docker_answers() -> bool:
    command = ["docker", "info"]
    return bool(shutil.which("docker")) and subprocess.run(command, check=False, capture_output=True).returncode == 0


def missing() -> dict[str, str]:
    """The packages to install, each with the tests that are skipped without it."""
    packages = {package: tests for program, (package, tests) in PROGRAMS.items() if not present(program)}
    if "debootstrap" in packages or not os.path.exists(KEYRING):
        packages["debian-archive-keyring"] = PROGRAMS["debootstrap"][1]
    return packages


def may_install() -> bool:
    return os.geteuid() == 0 and bool(shutil.which("apt-get"))


def install(*packages: str) -> None:
    """Install Debian packages, which takes root and Debian."""
    say(f"Installing {', '.join(packages)} …")
    # RUNLEVEL keeps Nginx from being started.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        command = ["apt-get", "-qq", *arguments]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        if done.returncode:
            fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def install_venv() -> None:
    """Debian has the module venv in a package of its own."""
    if importlib.util.find_spec("ensurepip") is None:
        if not may_install():
            fail("This Python cannot create virtual environments. On Debian or Ubuntu: apt-get install python3-venv")
        install("python3-venv")


def install_programs() -> None:
    packages = missing()
    if packages and may_install():
        install(*packages)
        packages = missing()
    if packages:
        tests = ", ".join(dict.fromkeys(packages.values()))
        say(f"Skipped for want of programs: {tests}. To run them, install: apt-get install {' '.join(packages)}")


if __name__ == "__main__":
    install_programs()
