"""A small executor that speaks the executor protocol, with the standard library only.

    python examples/executor/sample_executor.py --port 8000

* ``POST /executor.json`` gives the body back with a tag and, if it has ``segment_item``, ten times that number as
  ``executor_result``.
* ``POST /calculate.json`` adds ``left`` and ``right``.
* ``POST /greet.json?user=NAME`` greets.

Synchronous: the result is the answer. Asynchronous (``X-Mode: async`` and ``X-Callback-Url``): the answer is an
acknowledgement at once, and the result is posted to the callback URL when the work is done.

An attempt may arrive twice (the server was killed in between): ``X-Idempotency-Key`` is the same then, and this
executor answers the second one with the result of the first.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
BODY_LIMIT = 4 * 1024 * 1024
REMEMBERED = 10_000


def echo(body: Json, query: dict[str, str]) -> Json:
    if "segment_item" not in body:
        return {**body, "executor_tag": "sample"}
    item = body["segment_item"]
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise ValueError(f"segment_item must be a number, not {item!r}")
    return {**body, "executor_tag": "sample", "executor_result": item * 10}


def calculate(body: Json, query: dict[str, str]) -> Json:
    for name in ("left", "right"):
        if isinstance(body.get(name), bool) or not isinstance(body.get(name), int | float):
            raise ValueError(f"{name} must be a number, not {body.get(name)!r}")
    return {"result_number": body["left"] + body["right"]}


def greet(body: Json, query: dict[str, str]) -> Json:
    return {"greeting": f"Hello {query.get('user') or body.get('user') or 'world'}"}


WORK: dict[str, Callable[[Json, dict[str, str]], Json]] = {
    "/executor.json": echo,
    "/calculate.json": calculate,
    "/greet.json": greet,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True
    server: SampleExecutor

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = self._read_body()
        if body is None or url.path not in WORK:
            self.close_connection = True
            self._answer(404 if body is not None else 400, {"error_msg": "unknown path or no JSON object"})
            return
        key = self.headers.get("X-Idempotency-Key", "")
        back = self.headers.get("X-Callback-Url", "")
        if self.headers.get("X-Mode") == "async" and back:
            threading.Thread(target=self.server.work_and_call_back, args=(url.path, key, body, query, back)).start()
            self._answer(200, {"result_type": "SUCCESS"})
        else:
            self._answer(200, self.server.work(url.path, key, body, query))

    def _read_body(self) -> Json | None:
        size = int(self.headers.get("Content-Length") or 0)
        if size > BODY_LIMIT:
            return None
        try:
            body = json.loads(self.rfile.read(size) or b"{}")
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _answer(self, status: int, value: Json) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        if self.server.is_verbose:
            super().log_message(format, *args)


class SampleExecutor(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, *, is_verbose: bool = True) -> None:
        super().__init__((host, port), Handler)
        self.is_verbose = is_verbose
        self._done: OrderedDict[str, Json] = OrderedDict()
        self._lock = threading.Lock()

    def work(self, path: str, key: str, body: Json, query: dict[str, str]) -> Json:
        """Return the result; a business failure is a result too."""
        with self._lock:
            if key and key in self._done:
                return self._done[key]
        try:
            result = {"result_type": "SUCCESS", **WORK[path](body, query)}
        except ValueError as error:
            result = {"result_type": "FAILED", "error_msg": str(error)}
        with self._lock:
            self._done[key] = result
            while len(self._done) > REMEMBERED:
                self._done.popitem(last=False)
        return result

    def work_and_call_back(self, path: str, key: str, body: Json, query: dict[str, str], url: str) -> None:
        data = json.dumps(self.work(path, key, body, query)).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError as error:
            print(f"callback to {url} failed: {error}", file=sys.stderr)


def main() -> None:
    options = argparse.ArgumentParser(description="A sample executor for tornflow")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8000)
    chosen = options.parse_args()
    with SampleExecutor(chosen.host, chosen.port) as executor:
        print(f"executor listens on http://{chosen.host}:{executor.server_port}", file=sys.stderr)
        try:
            executor.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
