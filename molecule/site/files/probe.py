"""Request the sites of this host with all kinds of clients, and print unexpected results as JSON: probe.py PART …

Each check is a row of a table with a request and the expected response.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

# The sites of converge.yml: defaults, all settings changed (with TLS), and one behind a load balancer.
PLAIN, HTTP, HTTPS, INNER = 8080, 80, 443, 8081
BALANCER, VISITOR = "127.0.0.2", "127.0.0.3"
HOST = "www.example.org"
LOG = "/var/log/nginx/shop.access.log"
APPLICATION = {"x-application": "yes"}

checked: list[str] = []
faults: list[str] = []


def compare(name: str, found: object, expected: object) -> None:
    """Record a result that differs from `expected`, a value or a set of accepted values."""
    checked.append(name)
    good = found in expected if isinstance(expected, set) else found == expected
    if not good:
        faults.append(f"{name}: {found!r}, expected {expected!r}")


def build_context(**settings: object) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    for name, value in settings.items():
        setattr(made, name, value)
    return made


class Response:
    def __init__(self, got: http.client.HTTPResponse):
        self.status = got.status
        self.all = [(name.lower(), value) for name, value in got.getheaders()]
        self.headers = dict(self.all)
        self.body = got.read()

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.all if known == name]

    def json(self) -> dict:
        return json.loads(self.body)


def send_request(
    port: int, target: str, method: str = "GET", body: bytes | None = None, source: str = "127.0.0.1", **headers: str
) -> Response:
    if port == HTTPS:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=60, context=build_context(), source_address=(source, 0)
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))
    sent = {"Host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, target, body, sent)
    try:
        return Response(connection.getresponse())
    finally:
        connection.close()


def send_raw(port: int, data: bytes, seconds: float = 60.0) -> tuple[list[int], float]:
    """Send raw bytes. Return the statuses of the responses, and the seconds until the connection was closed."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(data)
        got = b""
        try:
            while part := connection.recv(65536):
                got += part
        except TimeoutError:
            return parse_statuses(got), seconds
        except ConnectionResetError:
            pass
    return parse_statuses(got), time.monotonic() - start


def parse_statuses(got: bytes) -> list[int]:
    lines = [line for line in got.split(b"\n") if line.startswith(b"HTTP/1.1 ")]
    return [int(line.split()[1]) for line in lines]


# --- files -----------------------------------------------------------------------------------------------------------

# The application may answer paths outside of /static/ and /media/. No response may contain a secret.
PATHS = [
    ("/static../.env", 200),
    ("/media../.env", 200),
    ("/static/../.env", 200),
    ("/static/%2e%2e/.env", 200),
    ("/static/..%2f.env", 200),
    ("/static/%2e%2e%2f%2e%2e%2fetc/passwd", 400),
    ("/media/sub/../../.env", 200),
    ("/static//../.env", 200),
    ("/static/../../../etc/passwd", 400),
    ("/static/....//.env", 404),
    ("/static/..%5c.env", 404),
    ("/static/..%00/.env", 400),
    ("/static/.hidden", 404),
    ("/static/%2ehidden", 404),
    ("/static/.git/config", 404),
    ("/media/.hidden", 404),
    ("/docs/.hidden", 404),
    ("/static/link.css", 403),
    ("/media/link.txt", 403),
    ("/media/directory/.env", 404),
    ("/media/directory/static/app.css", 404),
    ("/docs/link.txt", 403),
    ("/static/", 403),
    ("/media/", 403),
    ("/docs/", 403),
    ("/docs/page.txt", 200),
    ("/docs../.env", 200),
    ("/static/missing.css", 404),
]
SERVED = {"/docs/page.txt"}

# The names of uploads and the types that browsers may show. Uploads without a type are downloaded.
UPLOADS = [
    ("page.html", None),
    ("page.HTML", None),
    ("page.htm", None),
    ("page.xhtml", None),
    ("page.svg", None),
    ("page.js", None),
    ("page.pdf", None),
    ("page.xml", None),
    ("page", None),
    ("a.png", "image/png"),
    ("a.JPG", "image/jpeg"),
    ("a.txt", "text/plain"),
    ("sub/a.png", "image/png"),
]


def files() -> None:
    for port in (PLAIN, HTTPS):
        for target, status in PATHS:
            if target.startswith("/docs") and port == PLAIN:
                continue
            got = send_request(port, target)
            compare(f"{port} GET {target}", got.status, status)
            own = status == 200 and target not in SERVED
            compare(f"{port} GET {target}: who answers", got.headers.get("x-application"), "yes" if own else None)
            compare(f"{port} GET {target}: a secret", b"SECRET" in got.body or b"root:" in got.body, False)
        for name, kind in UPLOADS:
            got = send_request(port, f"/media/{name}")
            seen = [got.status, got.headers.get("content-type"), got.headers.get("content-disposition")]
            wanted = [200, kind or "application/octet-stream", None if kind else "attachment"]
            compare(f"{port} upload {name}", seen, wanted)
            seen = [got.headers.get("x-content-type-options"), got.headers.get("content-security-policy")]
            compare(f"{port} upload {name}: protection", seen, ["nosniff", "default-src 'none'; sandbox"])
            compare(f"{port} POST to upload {name}", send_request(port, f"/media/{name}", "POST", b"x").status, 405)

    plain = send_request(PLAIN, "/static/app.css")
    compare("a static file", (plain.status, plain.body, plain.headers["content-type"]), (200, b"body {}", "text/css"))
    compare("a static file: kept", plain.values("cache-control"), ["max-age=0"])
    compare(
        "a static file: the same",
        send_request(PLAIN, "/static/app.css", If_None_Match=plain.headers["etag"]).status,
        304,
    )
    compare("a static file: no type but its own", plain.headers.get("x-content-type-options"), "nosniff")
    compare("a name without a hash", send_request(HTTPS, "/static/app.css").values("cache-control"), ["max-age=3600"])
    for name in ("app.0123abcd.css", "app-0123456789abcdef.css"):
        kept = send_request(HTTPS, f"/static/{name}").values("cache-control")
        compare(f"a name with a hash: {name}", kept, ["max-age=31536000", "public, immutable"])
    missing = send_request(HTTPS, "/static/gone.0123abcd.css")
    compare("a missing name with a hash", (missing.status, missing.values("cache-control")), (404, []))

    zipped = send_request(HTTPS, "/static/app.css", Accept_Encoding="gzip")
    compare("a compressed file", (zipped.headers.get("content-encoding"), zipped.body), ("gzip", b"compressed"))
    compare(
        "no compressed file by default", send_request(PLAIN, "/static/app.css", Accept_Encoding="gzip").body, b"body {}"
    )
    for port, expected in ((PLAIN, "gzip"), (INNER, None)):
        got = send_request(port, "/large", Accept_Encoding="gzip", source=BALANCER, X_Forwarded_For="198.51.100.90")
        compare(f"{port} a compressed answer", got.headers.get("content-encoding"), expected)
    compare(
        "an answer for who knows no compression", send_request(PLAIN, "/large").headers.get("content-encoding"), None
    )


# --- requests --------------------------------------------------------------------------------------------------------

END = b"Connection: close\r\n\r\n"
OPEN = b"\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def build_request(*headers: bytes, body: bytes = b"", line: bytes = b"POST / HTTP/1.1", end: bytes = OPEN) -> bytes:
    """Return a request that keeps the connection open, so that a request in its body would get a response."""
    return line + b"\r\nHost: x\r\n" + b"".join(headers) + end + body


# Requests that a proxy and an application may parse differently. The application must not get a request for /smuggled.
SAMPLES = [
    ("length and chunks", build_request(b"Content-Length: 6\r\n", CHUNKED, body=b"0\r\n\r\n" + HIDDEN), [400]),
    ("chunks and length", build_request(CHUNKED, b"Content-Length: 4\r\n", body=b"0\r\n\r\n" + HIDDEN), [400]),
    ("two lengths", build_request(b"Content-Length: 0\r\nContent-Length: 36\r\n", body=HIDDEN), [400]),
    ("the same length twice", build_request(b"Content-Length: 0\r\nContent-Length: 0\r\n", body=HIDDEN), [400]),
    ("a list of lengths", build_request(b"Content-Length: 0, 36\r\n", body=HIDDEN), [400]),
    ("a length with a sign", build_request(b"Content-Length: +0\r\n", body=HIDDEN), [400]),
    ("a negative length", build_request(b"Content-Length: -1\r\n", body=HIDDEN), [400]),
    ("a hexadecimal length", build_request(b"Content-Length: 0x24\r\n", body=HIDDEN), [400]),
    ("a space before the colon", build_request(b"Content-Length : 36\r\n", body=HIDDEN), [400]),
    (
        "a space before the colon of chunks",
        build_request(b"Transfer-Encoding : chunked\r\n", body=b"0\r\n\r\n" + HIDDEN),
        [400],
    ),
    ("a folded header", build_request(b"X: a\r\n Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n" + HIDDEN), [400]),
    ("an unknown coding", build_request(b"Transfer-Encoding: xchunked\r\n", body=HIDDEN), [501]),
    ("two codings", build_request(b"Transfer-Encoding: gzip, chunked\r\n", body=HIDDEN), [501]),
    ("chunks twice", build_request(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + HIDDEN), [400]),
    ("a quoted coding", build_request(b'Transfer-Encoding: "chunked"\r\n', body=b"0\r\n\r\n" + HIDDEN), [501]),
    ("chunks in HTTP/1.0", build_request(CHUNKED, line=b"POST / HTTP/1.0", body=b"0\r\n\r\n" + HIDDEN), [400]),
    ("a bad size of a chunk", build_request(CHUNKED, body=b"zz\r\nabc\r\n0\r\n\r\n"), [400]),
    ("a negative size of a chunk", build_request(CHUNKED, body=b"-1\r\nabc\r\n0\r\n\r\n"), [400]),
    ("an endless size of a chunk", build_request(CHUNKED, body=b"f" * 20 + b"\r\nabc\r\n0\r\n\r\n"), [400, 413]),
    ("a chunk longer than its size", build_request(CHUNKED, body=b"1\r\nabc\r\n0\r\n\r\n"), [400]),
    ("a zero byte in a header", build_request(b"X: a\0b\r\n"), [400]),
    ("a carriage return in a header", build_request(b"X: a\rTransfer-Encoding: chunked\r\n"), [400]),
    ("no host", b"GET / HTTP/1.1\r\n" + END, [400]),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + END, [400]),
    ("a bad host", b"GET / HTTP/1.1\r\nHost: a/b\r\n" + END, [400]),
    ("an unknown version", b"GET / HTTP/3.0\r\nHost: x\r\n" + END, [505]),
    ("no version", b"GET /smuggled-not\r\n", [None]),
    ("CONNECT", b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n" + END, [405, 400]),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: x\r\n" + END, [405]),
    # Valid but obsolete: parsed as one request, and passed on in the usual form.
    ("bare line feeds", b"GET /bare HTTP/1.1\nHost: x\nConnection: close\n\n", [200]),
    ("chunks", build_request(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n", end=END), [200]),
    ("chunks with an extension", build_request(CHUNKED, body=b"3;a=b\r\nabc\r\n0\r\n\r\n", end=END), [200]),
    ("a length in two cases", build_request(b"content-LENGTH: 3\r\n", body=b"abc", end=END), [200]),
]


def requests() -> None:
    for name, data, expected in SAMPLES:
        found, _seconds = send_raw(PLAIN, data)
        compare(f"request with {name}: answers", len(found) <= 1, True)
        compare(f"request with {name}", found[0] if found else None, set(expected))
    seen = send_request(PLAIN, "/requests").json()["requests"]
    compare("requests that were smuggled", [target for target in seen if target == "/smuggled"], [])
    compare("a request with bare line feeds came through", "/bare" in seen, True)

    long = b"x" * 9000
    large = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 7000) for number in range(3))
    for name, data, status in [
        ("a header of 9,000 bytes", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + long + b"\r\n" + END, 400),
        ("three headers of 7,000 bytes", b"GET / HTTP/1.1\r\nHost: x\r\n" + large + END, 200),
        ("six headers of 7,000 bytes", b"GET / HTTP/1.1\r\nHost: x\r\n" + large * 2 + END, 400),
        ("a URL of 9,000 bytes", b"GET /" + long + b" HTTP/1.1\r\nHost: x\r\n" + END, 414),
    ]:
        compare(name, send_raw(PLAIN, data)[0], [status])
    compare("an answer with a header of 12,000 bytes", send_request(PLAIN, "/large-header").status, 200)

    # The site accepts 1,000 bytes, and /upload of the other site 4,000.
    for port, target, size, status in [
        (PLAIN, "/", 1000, 200),
        (PLAIN, "/", 1001, 413),
        (HTTPS, "/", 1000, 200),
        (HTTPS, "/", 1001, 413),
        (HTTPS, "/upload", 4000, 200),
        (HTTPS, "/upload", 4001, 413),
    ]:
        compare(f"{port} POST {target} of {size} bytes", send_request(port, target, "POST", b"x" * size).status, status)
    chunks = b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n0\r\n\r\n"
    compare("chunks of 1,001 bytes", send_raw(PLAIN, build_request(CHUNKED, body=chunks))[0], [413])
    compare("a length of 1,001 bytes, unsent", send_raw(PLAIN, build_request(b"Content-Length: 1001\r\n"))[0], [413])

    # Two seconds for the headers, and two between parts of a body. Nginx may send a 408.
    for name, data in [
        ("headers that never end", b"GET / HTTP/1.1\r\nHost: x\r\nX: "),
        ("a body that never comes", build_request(b"Content-Length: 10\r\n", body=b"x")),
    ]:
        found, seconds = send_raw(PLAIN, data)
        compare(f"{name}: closed", (found in ([], [408]), 1.5 < seconds < 60), (True, True))

    got = send_request(PLAIN, "/")
    compare("the server's name", got.headers["server"], "nginx")
    compare("the server's name on an error page", b"nginx/" in send_request(PLAIN, "/static/missing").body, False)


# --- TLS -------------------------------------------------------------------------------------------------------------


def try_handshake(port: int, **settings: object) -> str | None:
    """Return the protocol and cipher of a handshake, or None if it is refused."""
    ciphers = settings.pop("ciphers", "ALL:@SECLEVEL=0")
    alpn = settings.pop("alpn", None)
    client = build_context(**settings)
    client.set_ciphers(ciphers)
    if alpn:
        client.set_alpn_protocols(alpn)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
            client.wrap_socket(plain, server_hostname=HOST) as secure,
        ):
            return secure.selected_alpn_protocol() if alpn else f"{secure.version()} {secure.cipher()[0]}"
    except (ssl.SSLError, ConnectionResetError):
        return None


def start_lenient_server() -> int:
    """Start a server that accepts all protocols, to prove that the client can offer those that the site must refuse."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1
    server.set_ciphers("ALL:@SECLEVEL=0")
    server.load_cert_chain("/etc/ssl/site.crt", "/etc/ssl/site.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            plain, _address = listener.accept()
            try:
                server.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


V1, V11, V12, V13 = (getattr(ssl.TLSVersion, name) for name in ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"))
REFUSED_CIPHERS = ["AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384"]
CIPHERS = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"]


def tls() -> None:
    lenient = start_lenient_server()
    for name, version, accepted in [
        ("TLSv1", V1, False),
        ("TLSv1.1", V11, False),
        ("TLSv1.2", V12, True),
        ("TLSv1.3", V13, True),
    ]:
        offered = {"minimum_version": version, "maximum_version": version}
        compare(f"{name}, offered", (try_handshake(lenient, **offered) or "").split(" ")[0], name)
        compare(f"{name}, accepted", (try_handshake(HTTPS, **offered) or " ").split(" ")[0], name if accepted else "")
    for cipher in REFUSED_CIPHERS + CIPHERS:
        offered = {"minimum_version": V12, "maximum_version": V12, "ciphers": f"{cipher}:@SECLEVEL=0"}
        compare(f"{cipher}, offered", try_handshake(lenient, **offered), f"TLSv1.2 {cipher}")
        compare(
            f"{cipher}, accepted", try_handshake(HTTPS, **offered), f"TLSv1.2 {cipher}" if cipher in CIPHERS else None
        )
    compare("HTTP/2", try_handshake(HTTPS, alpn=["h2", "http/1.1"]), "h2")
    compare("HTTP/1.1", try_handshake(HTTPS, alpn=["http/1.1"]), "http/1.1")

    hsts = "max-age=63072000; includeSubDomains"
    for target, status in [("/", 200), ("/static/app.css", 200), ("/static/missing", 404), ("/media/a.txt", 200)]:
        got = send_request(HTTPS, target)
        compare(f"HSTS of {target}", (got.status, got.values("strict-transport-security")), (status, [hsts]))
    for method in ("GET", "POST"):
        got = send_request(HTTP, "/a%20b?c=d", method)
        compare(f"{method} over HTTP", (got.status, got.headers.get("location")), (301, f"https://{HOST}/a%20b?c=d"))
        compare(f"{method} over HTTP: HSTS", got.values("strict-transport-security"), [])
    compare("an upload over HTTP", send_request(HTTP, "/media/page.html").status, 301)
    challenge = "/.well-known/acme-challenge/"
    for port in (HTTP, HTTPS):
        got = send_request(port, challenge + "token")
        compare(
            f"{port} ACME", (got.status, got.body, got.headers["content-type"]), (200, b"token.answer", "text/plain")
        )
        for name, status in [
            ("missing", 404),
            ("", 403),
            ("link", 403),
            ("../../secret", 301 if port == HTTP else 200),
        ]:
            got = send_request(port, challenge + name)
            compare(f"{port} ACME {name}", (got.status, b"SECRET" in got.body), (status, False))
    got = send_request(HTTPS, "/").json()["headers"]
    compare("the application knows of TLS", (got["x-forwarded-proto"], got["host"]), ("https", HOST))


# --- the balancer, the rate and the log ------------------------------------------------------------------------------

CLAIMS = {
    "X_Forwarded_For": "198.51.100.7",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Host": "shop.example.org:8443",
    "X_Forwarded_Port": "8443",
    "X_Real_IP": "198.51.100.8",
    "Forwarded": "for=198.51.100.9",
}


def balancer() -> None:
    for name, port, source, expected in [
        ("the balancer", INNER, BALANCER, ["198.51.100.7", "https", "shop.example.org:8443", "8443", "198.51.100.7"]),
        ("a visitor", INNER, VISITOR, [VISITOR, "http", f"{HOST}:8081", "8081", VISITOR]),
        ("a visitor of the edge", HTTPS, VISITOR, [VISITOR, "https", HOST, "443", VISITOR]),
    ]:
        got = send_request(port, "/", source=source, **CLAIMS).json()["headers"]
        names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip"]
        compare(f"what {name} says", [got.get(name) for name in names], expected)
        compare(f"what {name} says besides", got.get("forwarded"), None)
    # Two requests per minute, with a burst of two.
    for address in ("198.51.100.21", "198.51.100.22"):
        found = [send_request(INNER, "/", source=BALANCER, X_Forwarded_For=address).status for _number in range(5)]
        compare(f"five requests of {address}", found, [200, 200, 200, 429, 429])
        found = [
            send_request(INNER, "/static/app.css", source=BALANCER, X_Forwarded_For=address).status
            for _number in range(5)
        ]
        compare(f"five files for {address}", found, [200] * 5)


def log() -> None:
    position = os.path.getsize(LOG)
    agent = 'quote " backslash \\ tab \t end'
    send_request(HTTPS, "/logged?a=%22", User_Agent=agent, Referer="x\\y")
    send_request(HTTPS, "/health")
    send_request(HTTPS, "/health?again")
    send_request(HTTPS, "/health?fail")
    send_request(HTTPS, "/healthy")
    send_request(HTTPS, "/status/live")
    send_raw(HTTP, b'GET / HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: \xff\xfe"\r\n' + END)
    targets = ["/logged?a=%22", "/health?fail", "/healthy", "/"]
    # Nginx logs a request after its response. Wait for the last request.
    lines: list[dict] = []
    until = time.monotonic() + 60
    while time.monotonic() < until and not (lines and lines[-1]["uri"] == targets[-1]):
        with open(LOG, "rb") as handle:
            handle.seek(position)
            lines = [json.loads(line) for line in handle.read().decode("utf-8", "replace").splitlines()]
    compare("what is logged", [line["uri"] for line in lines], targets)
    compare("what is logged: statuses", [line["status"] for line in lines], [200, 503, 200, 301])
    first = lines[0]
    compare("what is logged: the agent", (first["user_agent"], first["referer"]), (agent, "x\\y"))
    compare(
        "what is logged: the client", (first["remote_addr"], first["host"], first["method"]), ("127.0.0.1", HOST, "GET")
    )
    compare(
        "what is logged: numbers",
        [type(first[name]) for name in ("status", "bytes_sent", "request_time")],
        [int, int, float],
    )


# --- open connections, and locations ---------------------------------------------------------------------------------


@contextlib.contextmanager
def open_tls_connections() -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", HTTPS), timeout=60) as plain,
        build_context().wrap_socket(plain, server_hostname=HOST) as secure,
    ):
        yield secure


def open_websocket(target: str, upgrade: str, pause: float) -> str:
    """Send a WebSocket handshake and two texts. Return "echo", or the status and the request that was passed on."""
    key = base64.b64encode(os.urandom(16)).decode()
    with open_tls_connections() as connection:
        connection.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        got = connection.recv(65536)
        if not got.startswith(b"HTTP/1.1 101 "):
            seen = json.loads(got.partition(b"\r\n\r\n")[2] or connection.recv(65536))["headers"]
            return f"{got.split()[1].decode()} {seen.get('upgrade')} {seen.get('connection')}"
        for number, text in enumerate((b"first", b"second")):
            time.sleep(pause * number)
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
            connection.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
            if connection.recv(100) != bytes([0x81, len(text)]) + text:
                return "no echo"
    return "echo"


def open_connections() -> None:
    # At other URLs, the application may be silent for three seconds.
    compare("a slow answer", send_request(HTTPS, "/silent?seconds=20").status, 504)
    compare("a slow answer where one is expected", send_request(HTTPS, "/slow/?seconds=4").status, 200)
    compare("a WebSocket, silent for four seconds", open_websocket("/ws", "websocket", 4), "echo")
    compare("a WebSocket elsewhere", open_websocket("/other", "websocket", 0), "200 None close")
    compare("another protocol", open_websocket("/ws", "h2c", 0), "200 None close")
    with open_tls_connections() as connection:
        connection.sendall(f"GET /events HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while b"data: one" not in got:
            got += connection.recv(65536)
        compare("the first event does not wait for the second", b"data: two" in got, False)
        while part := connection.recv(65536):
            got += part
        compare("the second event comes", b"data: two" in got, True)


def locations() -> None:
    password = "Basic " + base64.b64encode(b"admin:right").decode()
    wrong = "Basic " + base64.b64encode(b"admin:wrong").decode()
    for name, source, headers, status in [
        ("with the password", "127.0.0.1", {"Authorization": password}, 200),
        ("with a wrong password", "127.0.0.1", {"Authorization": wrong}, 401),
        ("without a password", "127.0.0.1", {}, 401),
        ("from elsewhere", VISITOR, {"Authorization": password}, 403),
    ]:
        compare(f"/admin/ {name}", send_request(HTTPS, "/admin/x", source=source, **headers).status, status)
    got = send_request(HTTPS, "/old")
    compare("/old", (got.status, got.headers.get("location")), (301, "https://example.org/new?a=b"))
    compare("/older", send_request(HTTPS, "/older").status, 200)
    compare("/extra", send_request(HTTPS, "/extra").body, b"the extra")
    # The site of another role is served too.
    connection = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=60)
    connection.request("GET", "/", headers={"Host": "neighbour.example.org"})
    compare("the neighbour", connection.getresponse().read(), b"the neighbour")


PARTS = {
    "files": files,
    "requests": requests,
    "tls": tls,
    "balancer": balancer,
    "log": log,
    "open_connections": open_connections,
    "locations": locations,
}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        try:
            PARTS[part]()
        except Exception as error:  # what is left of a part is not checked: a fault of its own
            faults.append(f"{part} ended after '{checked[-1] if checked else ''}': {error!r}")
    print(
        json.dumps(
            {
                "checked": len(checked),
                "faults": faults,
                "nginx": subprocess.run(["nginx", "-v"], check=False, capture_output=True, text=True).stderr.strip(),
            }
        )
    )
