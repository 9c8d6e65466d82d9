# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations that applications need. A probe raises if its operation fails."""

from __future__ import annotations

import concurrent.futures
import ctypes
import datetime
import hashlib
import http.server
import ipaddress
import multiprocessing.shared_memory
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import psycopg
import requests
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(os.environ["PROBE_ROOT"])
SHARED = ROOT / "shared"


def check(condition: object, *seen: object) -> None:
    if not condition:
        raise AssertionError(*seen)


def credential() -> str:
    """Return the digest of a credential from systemd, which the application and its migration require."""
    secret = Path(os.environ["CREDENTIALS_DIRECTORY"], "token").read_bytes()
    check(secret, "the credential is empty")
    return hashlib.sha256(secret).hexdigest()


def credentials_are_its_own() -> str:
    directory = Path(os.environ["CREDENTIALS_DIRECTORY"])
    found = directory / "token"
    check(found.stat().st_mode & 0o077 == 0 or found.stat().st_uid != os.geteuid(), oct(found.stat().st_mode))
    check([path.name for path in directory.iterdir()] == ["token"])
    return str(directory)


def environment() -> str:
    """Check programs of packages, a writable home directory, and unbuffered output."""
    check(os.environ["VIRTUAL_ENV"] == os.path.realpath(sys.prefix), os.environ["VIRTUAL_ENV"])
    said = subprocess.run(["gunicorn", "--version"], check=True, capture_output=True, text=True).stdout
    cache = Path.home() / ".cache/probe"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "written").write_text("written")
    check(sys.stdout.write_through)
    return said


def process_information() -> str:
    own = psutil.Process()
    check(own.memory_info().rss > 1_000_000 and own.num_threads() >= 1 and own.open_files() is not None)
    check(psutil.virtual_memory().total > 0 and psutil.cpu_count() >= 1 and psutil.cpu_times().user >= 0)
    check(psutil.disk_usage("/").total > 0 and psutil.boot_time() > 0 and psutil.net_io_counters() is not None)
    check(own.parent() is not None, "the arbiter is not seen")
    return own.name()


def network_interfaces() -> str:
    found = psutil.net_if_addrs()
    check("lo" in found, found)
    return ", ".join(found)


def images() -> str:
    path = SHARED / "media" / "image.png"
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).text((2, 2), "probe", font=ImageFont.load_default(), fill="black")
    picture.resize((32, 32)).save(path)
    with Image.open(path) as read:
        check(read.size == (32, 32), read.size)
    path.unlink()
    return "32x32"


def encryption() -> str:
    key = Fernet(Fernet.generate_key())
    check(key.decrypt(key.encrypt(b"text")) == b"text")
    return "decrypted"


def postgresql() -> str:
    """Check that the driver's library tries to connect to a server."""
    try:
        psycopg.connect("host=127.0.0.1 port=1 dbname=probe connect_timeout=3")
    except psycopg.OperationalError as error:
        check("refused" in str(error), error)
        return "refused"
    raise AssertionError("nobody listens on port 1")


def sqlite() -> str:
    with sqlite3.connect("instance/probe.sqlite3") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE IF NOT EXISTS visit (at TEXT)")
        database.execute("INSERT INTO visit VALUES (datetime())")
        return str(database.execute("SELECT count(*) FROM visit").fetchone()[0])


def migrated() -> str:
    with sqlite3.connect("instance/probe.sqlite3") as database:
        digest, user, refused = database.execute("SELECT digest, user, refused FROM migration").fetchone()
    check(digest == credential(), "the migration had another credential")
    check(int(user) == os.geteuid(), user)
    check(refused == "yes", "the migration was not in the sandbox")
    return digest


def outgoing_http() -> str:
    answer = requests.get(os.environ["PROBE_URL"] + "/static/probe.css", timeout=60)
    check(answer.status_code == 200 and "served by Nginx" in answer.text, answer.status_code, answer.text)
    return answer.headers["Server"]


def outgoing_https() -> str:
    """Request a local test server with a new certificate."""
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = make_certificate(directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"https://127.0.0.1:{server.server_port}/requirements.txt"
            answer = requests.get(url, timeout=60, verify=certificate)
            server.shutdown()
    check(answer.status_code == 200 and "flask" in answer.text, answer.status_code)
    return "TLS"


def make_certificate(directory: str) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "probe")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = os.path.join(directory, "certificate.pem"), os.path.join(directory, "key.pem")
    Path(paths[0]).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.TraditionalOpenSSL
    Path(paths[1]).write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return paths


def names() -> str:
    found = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    check(found, "localhost is not known")
    return found[0][4][0]


def ipv6() -> str:
    socket.socket(socket.AF_INET6).close()
    return "AF_INET6"


def unix_sockets() -> str:
    path = ROOT / "run" / f"probe-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))
        path.unlink()
    return str(path)


def media() -> str:
    return upload(f"kept-{os.getpid()}.txt", b"kept")


def upload(name: str, data: bytes) -> str:
    """Save an upload in a subdirectory."""
    path = SHARED / "media" / "uploads" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return str(path)


def logs() -> str:
    path = SHARED / "logs" / "own.log"
    path.write_text("kept\n")
    return str(path)


def run_directory() -> str:
    path = ROOT / "run" / f"probe-{os.getpid()}.pid"
    path.write_text("1")
    path.unlink()
    return str(path)


def elsewhere() -> str:
    """Write below gunicorn_systemd_read_write_paths."""
    path = Path(os.environ["PROBE_ELSEWHERE"], ROOT.name)
    path.write_text("kept")
    return str(path)


def temporary_files() -> str:
    with tempfile.NamedTemporaryFile(dir="/tmp") as one, tempfile.TemporaryFile(dir="/var/tmp") as two:
        one.write(b"1" * 1_000_000)
        two.write(b"2")
        check(os.stat(one.name).st_size >= 0)
        return one.name


def shared_memory() -> str:
    block = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
    try:
        block.buf[:4] = b"kept"
        check(bytes(block.buf[:4]) == b"kept")
        return block.name
    finally:
        block.close()
        block.unlink()


def threads() -> str:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        check(sum(pool.map(lambda number: number * number, range(100))) == 328350)
    return "8"


def processes() -> str:
    command = [sys.executable, "-c", "import os; print(os.getppid())"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    check(int(said.stdout) == os.getpid(), said.stdout)
    return said.stdout.strip()


def foreign_functions() -> str:
    """Call a Python function from C."""
    values = (ctypes.c_int * 3)(3, 1, 2)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    ctypes.CDLL(None).qsort(values, 3, ctypes.sizeof(ctypes.c_int), kind(lambda one, two: one[0] - two[0]))
    check(list(values) == [1, 2, 3], list(values))
    return "called back"


def priorities() -> str:
    own = psutil.Process()
    check(own.nice() == 0 and own.cpu_affinity() and os.getpriority(os.PRIO_PROCESS, 0) == 0)
    return str(len(os.sched_getaffinity(0)))


def times() -> str:
    """Set the time of a file as its owner."""
    path = SHARED / "media" / "times"
    path.touch()
    os.utime(path, (1, 1))
    check(path.stat().st_mtime == 1)
    path.chmod(0o600)
    path.unlink()
    return "1970"


PROBES = {
    function.__name__: function
    for function in list(globals().values())
    if getattr(function, "__module__", "") == __name__ and function not in (check, make_certificate, migrated, upload)
}
