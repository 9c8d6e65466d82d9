"""Install the programs that the tests call, as root on Debian or Ubuntu. Otherwise print the missing packages."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess

from environment import fail, print_progress

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


def is_installed(program: str) -> bool:
    # The daemon may run on another machine. Without root, these programs do not help to start it.
    if program in ("dockerd", "iptables") and (is_docker_running() or not can_install()):
        return is_docker_running()
    return bool(shutil.which(program))


def is_docker_running() -> bool:
    command = ["docker", "info"]
    return bool(shutil.which("docker")) and subprocess.run(command, check=False, capture_output=True).returncode == 0


def list_missing_packages() -> dict[str, str]:
    """Return the missing packages, each with the tests that are skipped without it."""
    packages = {package: tests for program, (package, tests) in PROGRAMS.items() if not is_installed(program)}
    if "debootstrap" in packages or not os.path.exists(KEYRING):
        packages["debian-archive-keyring"] = PROGRAMS["debootstrap"][1]
    return packages


def can_install() -> bool:
    return os.geteuid() == 0 and bool(shutil.which("apt-get"))


def install_packages(*packages: str) -> None:
    """Install Debian packages. This requires root on Debian or Ubuntu."""
    print_progress(f"Installing {', '.join(packages)} …")
    # RUNLEVEL prevents the start of Nginx.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        command = ["apt-get", "-qq", *arguments]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        if done.returncode:
            fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def install_venv() -> None:
    """Install the module venv, which is a separate package on Debian."""
    if importlib.util.find_spec("ensurepip") is None:
        if not can_install():
            fail("This Python cannot create virtual environments. On Debian or Ubuntu: apt-get install python3-venv")
        install_packages("python3-venv")


def install_programs() -> None:
    packages = list_missing_packages()
    if packages and can_install():
        install_packages(*packages)
        packages = list_missing_packages()
    if packages:
        tests = ", ".join(dict.fromkeys(packages.values()))
        print_progress(
            f"Skipped because programs are missing: {tests}. To run them, install: apt-get install {' '.join(packages)}"
        )


if __name__ == "__main__":
    install_programs()
