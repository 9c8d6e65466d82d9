"""Replace Gunicorn: respond on a Unix socket with the data of the request."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import socketserver
import sys
import time
from urllib.parse import parse_qs, urlsplit

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
requests: list[str] = []


class RequestHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def respond(self, status: int, content: dict, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        headers = {"X-Application": "yes", "Content-Type": "application/json", **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        requests.append(self.path)
        if url.path == "/health":
            self.respond(503 if "fail" in query else 200, {})
        elif url.path == "/requests":
            self.respond(200, {"requests": requests})
        elif url.path == "/large":
            self.respond(200, {"text": "x" * 5000})
        elif url.path == "/large-header":
            self.respond(200, {}, X_Large="x" * 12000)
        elif url.path in ("/silent", "/slow/"):
            time.sleep(float(query["seconds"][0]))
            self.respond(200, {})
        elif url.path == "/events":
            self.events()
        elif url.path == "/ws" and self.headers.get("Upgrade", "") == "websocket":
            self.echo()
        else:
            headers = {name.lower(): self.headers[name] for name in self.headers}
            self.respond(200, {"target": self.path, "headers": headers, "length": len(sent)})

    do_POST = do_GET

    def events(self) -> None:
        """Send an event now, and one after the timeout of other URLs (nginx_site_proxy_read_timeout)."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: one\n\n")
        self.wfile.flush()
        time.sleep(4)
        self.wfile.write(b"data: two\n\n")
        self.close_connection = True

    def echo(self) -> None:
        accept = base64.b64encode(hashlib.sha1((self.headers["Sec-WebSocket-Key"] + GUID).encode()).digest())
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        self.wfile.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        while head := self.rfile.read(2):
            length, mask = head[1] & 127, self.rfile.read(4)
            text = bytes(byte ^ mask[index % 4] for index, byte in enumerate(self.rfile.read(length)))
            self.wfile.write(bytes([head[0], len(text)]) + text)
        self.close_connection = True

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *args) -> None:
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
os.umask(0)
UnixServer(sys.argv[1], RequestHandler).serve_forever()
