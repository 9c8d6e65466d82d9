"""Make containers reachable over SSH, and write the inventory: ssh_hosts.py <directory> <container> ...

The images of the containers have an SSH server. Each container gets its own host key, which is checked. The user
`deploy` logs in with a key that is generated in the directory. A second run updates the addresses.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from environment import docker

USER = "deploy"
AUTHORIZE_SCRIPT = f"""set -eu
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
install -d -o {USER} -g {USER} -m 700 /home/{USER}/.ssh
install -o {USER} -g {USER} -m 600 /dev/stdin /home/{USER}/.ssh/authorized_keys
# Pass these variables of the container to SSH sessions, too.
printenv | grep -E '^(PIP_CERT|SSL_CERT_FILE)=' > /etc/environment || true
systemctl restart ssh
cat /etc/ssh/ssh_host_ed25519_key.pub
"""


def get_address(container: str) -> str:
    return docker("inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)


def authorize_key(container: str, public_key: str) -> str:
    """Authorize the key for the user `deploy`, and return the host's public key."""
    command = ["docker", "exec", "--interactive", container, "sh", "-c", AUTHORIZE_SCRIPT]
    done = subprocess.run(command, input=public_key, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split()[:2])


def connect_hosts(containers: list[str], directory: Path) -> Path:
    """Make the containers reachable over SSH. Return the path of an inventory with all of them in the group flask."""
    directory.mkdir(parents=True, exist_ok=True)
    key, known, inventory = (directory / name for name in ("key", "known_hosts", "fleet.json"))
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text()
    known.write_text("".join(f"{name} {authorize_key(name, public)}\n" for name in containers))
    options = f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes -o ConnectTimeout=30"
    # Host variables take precedence over connection variables of other inventories.
    hosts = {
        name: {
            "ansible_connection": "ssh",
            "ansible_host": get_address(name),
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(key),
            "ansible_ssh_common_args": f"{options} -o HostKeyAlias={name}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        for name in containers
    }
    inventory.write_text(json.dumps({"flask": {"hosts": hosts}}, indent=2))
    return inventory


if __name__ == "__main__":
    print(connect_hosts(sys.argv[2:], Path(sys.argv[1]).resolve()))
