"""A hub on this machine, with one file."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """Answers as the hub does for one file, and remembers what was asked."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges: list[str] = []
        self.first: int | None = None  # bytes after which an answer waits for go_on
        self.go_on = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                if "/resolve/" not in self.path or "missing" in self.path:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                wanted = self.headers.get("Range", "")
                first = int(wanted[6:].split("-")[0]) if wanted else 0
                if body:
                    hub.ranges.append(wanted)
                part = hub.content[first:]
                self.send_response(206 if wanted else 200)
                self.send_header("ETag", f'"{hashlib.md5(hub.content).hexdigest()}"')
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(part)))
                if wanted:
                    whole = len(hub.content)
                    self.send_header(
                        "Content-Range", f"bytes {first}-{whole - 1}/{whole}"
                    )
                self.end_headers()
                if body:
                    try:
                        self.send(part)
                    except OSError:
                        pass  # the client went away, as one that cancels does

            def send(self, part: bytes) -> None:
                stop = len(part) if hub.first is None else hub.first
                self.wfile.write(part[:stop])
                if stop < len(part):
                    self.wfile.flush()
                    hub.go_on.wait(20)
                    self.wfile.write(part[stop:])

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass  # a client that cancels resets the connection

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        if not self.thread.is_alive():
            return
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
