"""Serves a dashboard to this machine alone: a page from elsewhere that a browser shows here is refused.

Such a page can have its own name resolve to this machine (DNS rebinding), and the browser then sends its requests here,
under that name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# The dashboard has no login and lets anybody who can connect delete studies: this machine only.
HOST = "127.0.0.1"
_HERE = re.compile(r"(https?://)?(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")
"""This machine, as browsers name it on any port: one that is forwarded may be another."""
_READING = ("GET", "HEAD")


class Guard:
    """Lets through what comes from this machine and, where the dashboard may only be read, reads."""

    def __init__(self, application: WSGIApplication, read_only: bool) -> None:
        self._application = application
        self._read_only = read_only

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if (problem := self._problem(environ)) is None:
            return self._application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{problem}\n".encode()]

    def _problem(self, environ: WSGIEnvironment) -> str | None:
        named = [environ.get("HTTP_HOST", ""), *([environ["HTTP_ORIGIN"]] if "HTTP_ORIGIN" in environ else [])]
        if not all(_HERE.fullmatch(name) for name in named):
            return "refused: this dashboard answers to 127.0.0.1 and localhost only"
        if self._read_only and environ["REQUEST_METHOD"] not in _READING:
            return "refused: this dashboard was started with --read-only"
        return None


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


def serve(application: WSGIApplication, port: int, read_only: bool, on_listening: Callable[[int], None]) -> None:
    """Serves until Ctrl-C.

    Args:
        port: 0 for any that is free.
        on_listening: Is told the port, as soon as it can be connected to.

    Raises:
        OSError: If it cannot be listened on.
    """
    with make_server(HOST, port, Guard(application, read_only), handler_class=_QuietHandler) as server:
        on_listening(server.server_port)
        server.serve_forever()
