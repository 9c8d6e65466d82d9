"""Deploy the demo application to a container in place of a host, and print its address."""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import docker_hosts
from docker_up import start_docker
from environment import ROOT, docker, fail, print_progress, tool_environment
from setup import setup

sys.path.insert(0, str(ROOT / "molecule/shared/image"))
from build import build_images, image

HOST = "flaskops-demo"
PLATFORM = "debian13"
CONFIGURATION = ROOT / "tools/demo/ansible.cfg"

ANSWERS = """
The application answers:   {url()=url=get_url()}

On the host ({host}, Debian 13), under /srv/demo:
  app -> releases/…        the live release; a deploy replaces this one link
  venv -> app/.venv        its virtual environment, in venvs/
  shared/                  .env, static, media, instance (SQLite) and logs, which outlive releases
  run/gunicorn.sock        the socket between Nginx and Gunicorn

Try next:
  $EDITOR molecule/shared/files/demo/demo/templates/index.html; make demo      deploy a change
  docker exec {host} journalctl -u demo -n 20                           read the application's log
  docker exec {host} ls -l /srv/demo /srv/demo/releases                 list the releases
  docker exec -it {host} bash                                           open a shell on the host
  make demo-destroy                                                            remove the container
"""


def inspect_container() -> dict:
    done = subprocess.run(["docker", "inspect", HOST], check=False, capture_output=True, text=True)
    return json.loads(done.stdout)[0] if done.returncode == 0 else {}


def find_free_port(wanted: int = 8080) -> int:
    """Return the wanted port, or any free port if the wanted one is in use."""
    for port in (wanted, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return listener.getsockname()[1]
    fail("No port is free on 127.0.0.1.")


def start_host() -> None:
    container = inspect_container()
    if not container:
        build_images(PLATFORM)
        print_progress(f"Starting the host {HOST} …")
        docker_hosts.start(
            image(PLATFORM), f"--name={HOST}", f"--hostname={HOST}", f"--publish=127.0.0.1:{find_free_port()}:80"
        )
    elif not container["State"]["Running"]:
        docker("start", HOST)
        docker_hosts.wait_for_boot(HOST)


def get_url() -> str:
    return f"http://{docker('port', HOST, '80/tcp').splitlines()[0]}/"


def wait_for_answer(address: str) -> None:
    last_error = ""
    for __ in range(60):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError) as error:
            last_error = str(error)
        time.sleep(0.5)
    fail(f"{address} does not answer with 200: {last_error}\nThe log: docker exec {HOST} journalctl -u demo -n 50")


def deploy() -> None:
    start_docker()
    setup()
    start_host()
    playbook = ["ansible-playbook", str(ROOT / "playbooks/site.yml")]
    if subprocess.run(
        playbook, check=False, cwd=ROOT, env=tool_environment(ANSIBLE_CONFIG=str(CONFIGURATION))
    ).returncode:
        fail("The playbook failed; see the message above. `make demo` continues from there.")
    wait_for_answer(get_url())
    print(ANSWERS.format(url=get_url(), host=HOST))


def destroy() -> None:
    if shutil.which("docker") and inspect_container():
        docker_hosts.remove(HOST)
        print_progress(f"Removed {HOST}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--destroy", action="store_true", help="remove the container")
    destroy() if parser.parse_args().destroy else deploy()
