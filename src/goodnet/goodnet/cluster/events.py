# SPDX-License-Identifier: GPL-3.0-or-later
"""Events on the objects that something is wrong with, so that `kubectl get events` shows it where people look.

All hosts see the same problems. The name of an Event follows from what it says, so the API takes one of each.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from goodnet.cluster.client import Api, ApiError, Unreachable
from goodnet.cluster.objects import Object

log = logging.getLogger(__name__)

# The API forgets Events after an hour; what is still wrong then is said again.
REPEAT_SECONDS = 3600.0
# Between two Events of one host, and how many hosts of a cluster may speak in a second.
_PAUSE_SECONDS = 1.0
_HOSTS_PER_SECOND = 10.0
_MOST = 256


@dataclass(frozen=True)
class Note:
    """What is wrong with an object. namespace: that of the object; a Namespace is in itself, a Node in none."""

    kind: str
    namespace: str
    name: str
    reason: str
    message: str


def event(note: Note, uid: str, now: datetime.datetime) -> Object:
    """Return the Event that says it. uid: of the object, which `kubectl describe` asks for."""
    digest = hashlib.sha256("\0".join((note.kind, note.namespace, note.name, note.reason, note.message)).encode())
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    namespace = note.namespace or "default"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"goodnet-{digest.hexdigest()[:16]}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": "networking.k8s.io/v1" if note.kind == "NetworkPolicy" else "v1",
            "kind": note.kind,
            "name": note.name,
            "uid": uid,
            **({"namespace": note.namespace} if note.namespace else {}),
        },
        "type": "Warning",
        "reason": note.reason,
        "message": note.message[:1024],
        "source": {"component": "goodnet"},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


class Recorder(threading.Thread):
    """Posts what is wrong, each thing once while it lasts, and no faster than the cluster likes."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name="events", daemon=True)
        self._api = api
        self._clock = clock
        self._condition = threading.Condition()
        # When the note is to be posted next, and the uid of its object.
        self._due: dict[Note, tuple[float, str]] = {}
        self._stopping = False

    def current(self, notes: Iterable[tuple[Note, str]], hosts: int) -> None:
        """Take all that is wrong now, each with the uid of its object. What is not among it any more is forgotten."""
        found = dict(list(notes)[:_MOST])
        with self._condition:
            for note in self._due.keys() - found.keys():
                del self._due[note]
            for note, uid in found.items():
                if note not in self._due:
                    log.warning("%s %s: %s: %s", note.kind, note.name, note.reason, note.message)
                    # Hosts that see a problem at the same moment speak one after the other; only the first is heard.
                    self._due[note] = (self._clock() + random.uniform(0, hosts / _HOSTS_PER_SECOND), uid)
                    self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def run(self) -> None:
        while True:
            with self._condition:
                while not self._stopping and (pause := self._pause()) > 0:
                    self._condition.wait(min(pause, 60.0))
                if self._stopping:
                    return
                note = min(self._due, key=lambda known: self._due[known][0])
                uid = self._due[note][1]
                self._due[note] = (self._clock() + REPEAT_SECONDS * random.uniform(1.0, 1.2), uid)
            self._post(note, uid)
            time.sleep(_PAUSE_SECONDS)

    def _pause(self) -> float:
        return min((due for due, _uid in self._due.values()), default=self._clock() + 60.0) - self._clock()

    def _post(self, note: Note, uid: str) -> None:
        body = event(note, uid, datetime.datetime.now(datetime.timezone.utc))
        path = f"/api/v1/namespaces/{body['metadata']['namespace']}/events"
        try:
            self._api.request("POST", path, body=body)
        except ApiError as error:
            # 409: it is there already. 404 and 403: the namespace is gone or going.
            if error.status not in (403, 404, 409):
                log.warning("event on %s %s: %s", note.kind, note.name, error)
        except Unreachable:
            with self._condition:
                if note in self._due:
                    self._due[note] = (self._clock() + 60.0, uid)
