# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the flows of a bridge. There is one writer, and what it writes goes in as a whole or not at all."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from goodnet.ovs.ovsdb import RUNDIR

TIMEOUT = 60


class OfctlError(Exception):
    """The switch did not take the flows, or does not answer."""


@dataclass(frozen=True)
class Change:
    """How many flows are new, how many there were with other actions, and how many were removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return f"{self.added} added, {self.changed} changed, {self.removed} removed"

    @classmethod
    def between(cls, gone: set[str], new: set[str]) -> Change:
        """From the identities of the flows that go and of those that come."""
        return cls(added=len(new - gone), changed=len(new & gone), removed=len(gone - new))


class Flows:
    """The flows of one bridge. What several threads wish meanwhile is written together; the last wish wins."""

    def __init__(self, bridge: str, rundir: Path = RUNDIR) -> None:
        self._bridge = bridge
        self._target = f"unix:{rundir}/{bridge}.mgmt"
        self._wishing, self._writing = threading.Lock(), threading.Lock()
        # Of the wishes.
        self._wish: Sequence[str] = ()
        self._number = 0
        self._whole = False
        # Of the writer. unknown: what the switch has is not what was written last.
        self._written: frozenset[str] = frozenset()
        self._done = 0
        self._change = Change()
        self._unknown = True

    def write(self, flows: Sequence[str], whole: bool = False) -> Change:
        """Have exactly these flows, in one bundle.

        They are compared with those that were written last; with whole, with those that the switch has: at the start,
        after a restart of the switch, and to repair drift. A write after one that failed is a whole one.
        """
        with self._wishing:
            self._number += 1
            mine = self._number
            self._wish = flows
            self._whole |= whole
        with self._writing:
            if self._done >= mine:
                return self._change
            with self._wishing:
                number, wish, whole = self._number, self._wish, self._whole
                self._whole = False
            whole |= self._unknown
            self._unknown = True
            self._change = self._replace(wish) if whole else self._update(wish)
            self._written, self._done, self._unknown = frozenset(wish), number, False
            return self._change

    def _update(self, flows: Sequence[str]) -> Change:
        wanted = frozenset(flows)
        new = {identity(flow): flow for flow in wanted - self._written}
        gone = {identity(flow) for flow in self._written - wanted}
        lines = [f"delete_strict {flow}" for flow in sorted(gone - new.keys())]
        lines += [f"add {flow}" for flow in sorted(new.values())]
        if lines:
            self._ofctl("--bundle", "add-flows", self._target, "-", lines=lines)
        return Change.between(gone, set(new))

    def _replace(self, flows: Sequence[str]) -> Change:
        # Or else the ports of a first fragment read 0, and a tunnel's packet could be forged in fragments.
        self._ofctl("set-frags", self._target, "nx-match")
        # A file has to begin with / or . to be told from a switch.
        found = self._ofctl("diff-flows", self._target, "/dev/stdin", lines=flows, differs=2)
        sides: dict[str, set[str]] = {"-": set(), "+": set()}
        for line in found.splitlines():
            sides[line[0]].add(identity(line[1:]))
        change = Change.between(sides["-"], sides["+"])
        if change:
            self._ofctl("--bundle", "replace-flows", self._target, "-", lines=flows)
        return change

    def _ofctl(self, *arguments: str, lines: Iterable[str] = (), differs: int = 0) -> str:
        """What ovs-ofctl prints; differs is the exit status that is no error."""
        command = ["ovs-ofctl", "-O", "OpenFlow14", *arguments]
        text = "".join(f"{line}\n" for line in lines)
        try:
            done = subprocess.run(command, input=text, text=True, capture_output=True, check=False, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise OfctlError(f"The switch did not answer `{' '.join(command)}` within {TIMEOUT} s") from None
        if done.returncode not in (0, differs):
            raise OfctlError(f"Bridge {self._bridge}: `{' '.join(command)}` failed: {_explained(done.stderr, text)}")
        return done.stdout


def identity(flow: str) -> str:
    """What tells a flow from others: table, priority and match, without cookie and actions."""
    head = flow.partition("actions=")[0]
    parts = [part for part in re.split(r"[,\s]+", head) if part and not part.startswith("cookie=")]
    return ",".join(parts)


def _explained(message: str, text: str) -> str:
    """An error of ovs-ofctl with the line of its input that it is about."""
    message = message.strip()
    where = re.search(r"^ovs-ofctl: (?:-|/dev/stdin|<stdin>):(\d+)", message)
    lines = text.splitlines()
    if where and 0 < int(where[1]) <= len(lines):
        return f"{message} in {lines[int(where[1]) - 1]!r}"
    return message
