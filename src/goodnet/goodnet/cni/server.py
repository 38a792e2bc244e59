# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's Unix socket, on which the CNI plugin and `goodnetctl` ask."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from goodnet.cni.requests import answer
from goodnet.errors import BAD_ENVIRONMENT, FAILED, CniError

log = logging.getLogger(__name__)

# The longest line that is read, and the seconds that one who connects has to send it.
LONGEST = 4 * 2**20
PATIENCE = 10.0

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Answer]


class Server:
    """Answers on the socket: each line is a request, a JSON object with "op", and gets one line back.

    The CNI plugin asks by "cni", which asks the other handlers in its turn.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        def plugin(request: dict[str, Any]) -> Answer:
            return answer(request["environment"], request["config"], lambda asked: handlers[asked["op"]](asked))

        self._listener = _Listener(path, {**handlers, "cni": plugin})
        self._thread = threading.Thread(target=self._listener.serve_forever, name="socket", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests. Those that are being worked on go on while the process does."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


class _Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self.handlers = handlers
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Made beside and moved: it takes the place of a dead one, and nobody sees it with other rights.
        beside = path.with_name(path.name + ".new")
        beside.unlink(missing_ok=True)
        super().__init__(str(beside), _Connection)
        beside.chmod(0o600)
        beside.replace(path)


class _Connection(socketserver.StreamRequestHandler):
    server: _Listener
    timeout = PATIENCE

    def handle(self) -> None:
        try:
            for line in iter(lambda: self.rfile.readline(LONGEST), b""):
                self.wfile.write(json.dumps(self._answer(line)).encode() + b"\n")
        except OSError as error:
            log.debug("A connection to the agent's socket ended: %s", error)

    def _answer(self, line: bytes) -> Answer:
        try:
            uid = _peer(self.connection)
            if uid != 0:
                raise CniError(BAD_ENVIRONMENT, f"The agent listens to root only, not to user {uid}")
            try:
                request = json.loads(line)
                handler = self.server.handlers[request["op"]]
            except (ValueError, TypeError, KeyError):
                raise CniError(
                    BAD_ENVIRONMENT,
                    f"The request is {line[:200]!r}",
                    f'It has to be a JSON object whose "op" is one of {", ".join(sorted(self.server.handlers))}.',
                ) from None
            return {"ok": True, **handler(request)}
        except CniError as problem:
            return {"ok": False, "code": problem.code, "message": problem.message, "details": problem.details}
        except Exception as error:
            log.exception("The request %r failed", line[:500])
            message = f"{type(error).__name__}: {error}"
            return {"ok": False, "code": FAILED, "message": message, "details": "See `journalctl -u goodnet-agent`."}


def _peer(connection: socket.socket) -> int:
    """The user at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
