"""A server on this machine's loopback address that counts what it is asked for, and fails where it is told to."""

from __future__ import annotations

import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path


class Loopback(http.server.ThreadingHTTPServer):
    """Serves a folder.

    Attributes
    ----------
    asked : Counter
        How often each path was asked for.
    sent : Counter
        How many bytes of each were sent to requests for a part.
    failing : dict
        Of paths, how often they still fail with 503; -1 for ever.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.asked: Counter[str] = Counter()
        self.failing: dict[str, int] = {}
        self.sent: Counter[str] = Counter()
        self.lock = threading.Lock()

    def address(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def blocks(self) -> set[str]:
        """What was asked for and is no metadata."""
        return {path for path in self.asked if not path.endswith((".json", "info", ".zarray", ".zattrs", ".zgroup"))}


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.asked[path] += 1
            left = self.server.failing.get(path, 0)
            if left > 0:
                self.server.failing[path] = left - 1
        if left:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        file = Path(self.translate_path(self.path))
        packed = file.with_name(f"{file.name}.gz")
        if packed.is_file():  # as servers that know CloudVolume's files
            content = packed.read_bytes()
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        if not file.is_file():  # no listing of folders: a server need not have one
            self.send_error(404)
            return
        content, part = file.read_bytes(), self.headers.get("Range")
        if part is None:
            super().do_GET()
            return
        first, _, last = part.removeprefix("bytes=").partition("-")
        start = int(first) if first else len(content) - int(last)
        stop = int(last) + 1 if first and last else len(content)
        content, total = content[start:stop], len(content)
        with self.server.lock:
            self.server.sent[path] += len(content)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(content) - 1}/{total}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        self.send_header("ETag", '"1"')  # buckets have one
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Loopback]:
    """A server for the time of a test."""
    server = Loopback(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
