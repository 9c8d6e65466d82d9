# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests to the demo application at a constant rate, and record the result of each request.

Runs on the host against its Nginx, with the host's Python, so that no network is measured. Requests are sent on
schedule, independently of earlier requests, and are not repeated. By default, half of them use kept-alive connections,
and the others a new connection. 2 % take 1.5 s, and 5 % upload a file through the form.

Each line that is appended to the file of marks begins a phase of that name. The line `end` ends the run. The file is
created before the first request if it is missing. The first phase is called "normal". Prints a summary as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Seconds, as in Nginx's timeouts.
TIMEOUT = 60.0
# Seconds after which an idle connection is not used again. Debian's Nginx closes it after 65 s.
IDLE = 20.0
# More than Nginx keeps in memory, so that it writes uploads to a file.
UPLOAD = b"A line of a file that is long enough.\n" * 640
EXPECTED = {"page": 200, "health": 200, "slow": 200, "upload": 303}
QUICK = ("page", "health")


@dataclass(frozen=True)
class RequestResult:
    start: float  # seconds since the epoch
    latency: float  # seconds from the connection attempt to the last byte
    kind: str
    kept_alive: bool
    result: int | str  # the status, or an error
    release: str

    @property
    def failed(self) -> bool:
        return self.result != EXPECTED[self.kind]


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.used = time.monotonic()

    async def send(self, request: bytes) -> tuple[int, str, bool]:
        """Send a request and read the response. Return (status, release, whether the connection stays open)."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        headers = {name.lower(): value.strip() for name, __, value in (line.partition(":") for line in head[1:])}
        await self.reader.readexactly(int(headers["content-length"]))
        self.used = time.monotonic()
        return status, headers.get("x-demo-release", ""), headers.get("connection") != "close"

    def is_usable(self) -> bool:
        return not self.reader.at_eof() and time.monotonic() - self.used < IDLE


class Client:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.answers: list[RequestResult] = []
        self.kept: list[Connection] = []

    def build_request(self, kind: str, number: int, keep: bool) -> bytes:
        path = {"page": "/", "health": "/health", "slow": "/slow?seconds=1.5", "upload": "/files"}[kind]
        body, extra = b"", ""
        if kind == "upload":
            body = (
                b'--load\r\nContent-Disposition: form-data; name="file"; filename="load-%d-%d.txt"\r\n'
                b"Content-Type: text/plain\r\n\r\n%s\r\n--load--\r\n" % (time.time_ns(), number, UPLOAD)
            )
            extra = f"Content-Type: multipart/form-data; boundary=load\r\nContent-Length: {len(body)}\r\n"
        line = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
        return f"{line}Connection: {'keep-alive' if keep else 'close'}\r\n{extra}\r\n".encode() + body

    async def get_connection(self, keep: bool) -> Connection:
        while keep and self.kept:
            connection = self.kept.pop()
            if connection.is_usable():
                return connection
            connection.writer.close()
        return Connection(*await asyncio.open_connection(self.host, self.port))

    async def send_request(self, kind: str, number: int, keep: bool) -> None:
        request = self.build_request(kind, number, keep)
        at, start = time.time(), time.perf_counter()
        release, connection = "", None
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = await self.get_connection(keep)
                result, release, stays = await connection.send(request)
            latency = time.perf_counter() - start
            if keep and stays:
                self.kept.append(connection)
                connection = None
        except (OSError, EOFError, asyncio.LimitOverrunError, LookupError, ValueError) as error:
            latency = time.perf_counter() - start
            result = f"{type(error).__name__} {error}".strip()
        if connection:
            connection.writer.close()
        self.answers.append(RequestResult(at, latency, kind, keep, result, release))


def choose_kind(chance: float) -> str:
    if chance < 0.02:
        return "slow"
    if chance < 0.07:
        return "upload"
    return "page" if chance < 0.535 else "health"


def read_marks(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def run_requests(
    client: Client, rate: float, seconds: float, kept_alive: float, marks: Path
) -> tuple[list[tuple[float, str]], float]:
    """Send requests until the time is over or the end is marked.

    Return (the start time and name of each phase, the longest delay of a request in seconds).
    """
    phases = [(time.time(), "normal")]
    seen = len(read_marks(marks))
    marks.touch()
    late, tasks, chance = 0.0, set(), random.Random(1)
    begin = checked = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        now = time.perf_counter()
        late = max(late, now - due)
        if now - checked > 0.1:
            checked = now
            names = read_marks(marks)[seen:]
            phases += [(time.time(), name) for name in names[len(phases) - 1 :]]
            if "end" in names:
                break
        task = asyncio.create_task(
            client.send_request(choose_kind(chance.random()), number, chance.random() < kept_alive)
        )
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return phases, late


def compute_percentile(latencies: Iterable[float], share: float) -> float | None:
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def to_milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def summarize(answers: list[RequestResult]) -> dict:
    """Summarize requests. Latencies are those of successful quick requests, in milliseconds."""
    quick = [answer.latency for answer in answers if answer.kind in QUICK and not answer.failed]
    failed = [answer.start for answer in answers if answer.failed]
    return {
        "total": len(answers),
        "failed": len(failed),
        "failing": round(max(failed) - min(failed), 1) if failed else 0,  # seconds from the first failure to the last
        "failures": Counter(f"{answer.kind}: {answer.result}" for answer in answers if answer.failed),
        "p50": to_milliseconds(compute_percentile(quick, 0.5)),
        "p99": to_milliseconds(compute_percentile(quick, 0.99)),
        "worst": to_milliseconds(max(quick, default=None)),
        "releases": Counter(answer.release for answer in answers if answer.release),
    }


def build_report(answers: list[RequestResult], phases: list[tuple[float, str]], late: float) -> dict:
    """Return the summary of the run and of each phase, and the delay of the client itself in milliseconds."""
    ends = [start for start, __ in phases[1:]] + [float("inf")]
    parts = {
        name: summarize([answer for answer in answers if start <= answer.start < end])
        for (start, name), end in zip(phases, ends, strict=True)
        if name != "end"
    }
    return {**summarize(answers), "late": to_milliseconds(late), "phases": parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--rate", type=float, default=300, help="requests per second (default: 300)")
    parser.add_argument("--seconds", type=float, default=300, help="the longest that the run may take (default: 300)")
    parser.add_argument("--kept-alive", type=float, default=0.5, help="share of kept-alive connections (default: 0.5)")
    parser.add_argument("--marks", type=Path, default=Path("/run/load.marks"), help="the file that begins phases")
    parser.add_argument("--output", type=Path, help="where to write every single request, as JSON")
    options = parser.parse_args()
    client = Client(options.host, options.port)
    # Garbage collection would affect the latencies.
    gc.disable()
    phases, late = asyncio.run(run_requests(client, options.rate, options.seconds, options.kept_alive, options.marks))
    if options.output:
        rows = [[a.start, a.latency, a.kind, a.kept_alive, a.result, a.release] for a in client.answers]
        options.output.write_text(json.dumps({"phases": phases, "requests": rows}))
    print(json.dumps(build_report(client.answers, phases, late)))


if __name__ == "__main__":
    main()
