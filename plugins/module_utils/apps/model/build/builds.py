# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The builds of an app: what their records keep, how they are read, and the app that one of them runs as. Pure.

A record is an immutable ConfigMap in the namespace of the tenant, whose members may write any content into one. So its
image counts only if it is in the repository of the app, by digest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils import records
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.kinds import Object
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import head
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import (
    IMAGE_DIGEST,
    IMAGE_HOST,
    reference,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.records import Warn, Wrong, ignored
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from ..arguments import APP
from ..options import Checker, check
from ..record_schemas import APP_NAME
from ..spec import canonical
from ..types import TYPES
from .cache import Key
from .job import build_labels
from .plan import Plan, Process, read_plan

DATA = "build"
MAX_NUMBER = 10**9 - 1
LOG_LINES = 100
LOG_LINE = 400
MAX_RECORD = 900_000
_NAME = re.compile(r"(?P<app>.+)-build-(?P<number>[1-9][0-9]{0,8})\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")


@dataclass(frozen=True)
class Build:
    """A build that succeeded. `source` is where its tree was from, `commit` that of a git repository, "" for others.

    seconds: how long it ran. `log` are the last lines of its log.
    """

    app: str
    tenant: str
    number: int
    key: Key
    plan: Plan
    image: str
    source: str = ""
    commit: str = ""
    created: str = ""
    by: str = ""
    seconds: int = 0
    log: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return record_name(self.app, self.number)


def record_name(app: str, number: int) -> str:
    """Return the name of the ConfigMap of a build."""
    return f"{app}-build-{number}"


def record(build: Build) -> Object:
    """Return the ConfigMap that keeps a build."""
    kept: dict[str, Any] = {
        "app": build.app,
        "number": build.number,
        "key": [list(part) for part in build.key.parts],
        "plan": build.plan.stored(),
        "image": build.image,
        "source": build.source[:2000],
        "commit": build.commit,
        "created": build.created,
        "by": build.by,
        "seconds": build.seconds,
        "log": [line[:LOG_LINE] for line in build.log[-LOG_LINES:]],
    }
    if len(canonical(kept)) > MAX_RECORD:
        kept["log"] = []
    made = head("ConfigMap", build.name, build.tenant, build_labels(build.app, build.tenant, build.number))
    made["immutable"] = True
    made["data"] = {DATA: canonical(kept).decode()}
    return made


def read(entry: Object, registry: str | None, warn: Warn = ignored) -> Build | None:
    """Return the build in a ConfigMap. When it has none that can be used, None, and a warning.

    registry: the host that its image must be of, None if that is not known.
    """
    return records.read("ConfigMap", entry, lambda found: _build(found, registry), warn)


def _build(entry: Object, registry: str | None) -> Build:
    meta = records.metadata_of(entry)
    text = records.part(entry, "data").get(DATA)
    if not isinstance(text, str):
        raise Wrong(f"data: found no {DATA}, wanted it")
    kept = records.checked(records.parsed(text, records.MAX_BYTES), _RECORD)
    tenant = records.checked(meta.get("namespace"), records.text(63), "namespace")
    app, number = kept["app"], kept["number"]
    if meta.get("name") != record_name(app, number):
        raise Wrong(f"found build {number} of app {app}, wanted it in {record_name(app, number)}")
    image = reference(kept["image"])
    host = registry or image.host
    wanted = f"{host}/{tenant}/{app}@{image.digest}"
    if not IMAGE_DIGEST.match(image.digest) or not IMAGE_HOST.match(image.host) or kept["image"] != wanted:
        raise Wrong(f"image: found {shown(kept['image'])}, wanted {registry or 'HOST'}/{tenant}/{app}@sha256:DIGEST")
    return Build(
        app=app,
        tenant=tenant,
        number=number,
        key=Key(tuple((name, value) for name, value in kept["key"])),
        plan=read_plan(kept["plan"]),
        image=kept["image"],
        source=kept["source"],
        commit=kept["commit"],
        created=kept["created"],
        by=kept["by"],
        seconds=kept["seconds"],
        log=tuple(kept["log"]),
    )


_RECORD = records.record(
    {
        "app": APP_NAME,
        "number": records.number(1, MAX_NUMBER),
        "key": records.sequence(records.sequence(records.text(5000), 2, 2), 5000, 1),
        "plan": records.anything,
        "image": records.text(1000),
        "source": records.text(2000),
        "commit": records.text(64, re.compile(r"[0-9a-f]*\Z"), "a commit id"),
        "created": records.text(40),
        "by": records.text(1000),
        "seconds": records.number(0, 10**6),
        "log": records.sequence(records.text(10_000), 1000),
    }
)


def builds(entries: Iterable[Object], app: str, registry: str | None, warn: Warn = ignored) -> list[Build]:
    """Return the builds of an app among ConfigMaps, oldest first."""
    found = [read(entry, registry, warn) for entry in entries]
    return sorted((build for build in found if build and build.app == app), key=lambda build: build.number)


def next_number(names: Iterable[str], app: str) -> int:
    """Return the number after those of an app's ConfigMaps, usable or not, by their names."""
    matches = [match for match in map(_NAME.match, names) if match and match["app"] == app]
    return max((int(match["number"]) for match in matches), default=0) + 1


def same(history: Iterable[Build], key: Key) -> Build | None:
    """Return the newest build with this key."""
    return next((build for build in reversed(list(history)) if build.key.digest == key.digest), None)


def expired(history: list[Build], keep: int, used: Collection[str]) -> list[Build]:
    """Return the builds to forget: all but the newest `keep` and those whose image is among the used ones."""
    return [build for build in history[:-keep] if build.image not in used]


# The app of a build


def build_number(checker: Checker, option: str, given: Any) -> int | None:
    """Return the number of a build, given as such or as the result of app_build."""
    value = given.get("number") if isinstance(given, dict) else given
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not _NUMBER.match(str(value).strip()):
        checker.wrong(option, given, "the number of a build, or the result `build` of app_build")
        return None
    return int(value)


# A plan that says nothing of processes.
UNKNOWN = Plan("unknown", "unknown")


def with_build(given: dict[str, Any], image: str, plan: Plan) -> dict[str, Any]:
    """Return checked options of an app with the image of a build, and with what its plan adds to them.

    What the options say stays. Processes that they do not name are those of the plan, and a process without command,
    arguments and ports has those of the plan.
    """
    row = TYPES[given["type"] or "web"]
    commands = {process.name: process for process in plan.processes if process.name != "release"}
    main = plan.main.name if plan.main else "web"
    listed = given["processes"]
    if not listed:
        names = list(commands) if row.lasting else []
        options = APP["processes"]["options"]
        listed = [check(options, {"name": name})[0] for name in names or [_only(row.listens, given["type"])]]
    served = main if any(entry.get("name") == main for entry in listed) else ""
    if not served and len(listed) == 1:
        served = listed[0].get("name") or ""
    made = [_completed(entry, commands, plan, row.routed and entry.get("name") == served) for entry in listed]
    env = dict(given["env"] or {})
    if plan.containerfile and "PORT" not in {*env, *(given["secret_env"] or {})}:
        # An image that the platform has planned has it already.
        env["PORT"] = str(plan.port)
    return {**given, "build": None, "image": image, "processes": made, "env": env}


def _only(listens: bool, kind: str | None) -> str:
    return "web" if listens else kind or "web"


def _completed(entry: dict[str, Any], commands: dict[str, Process], plan: Plan, serves: bool) -> dict[str, Any]:
    if not entry:
        return entry
    entry = dict(entry)
    process = commands.get(entry["name"])
    if process is not None and entry["command"] is None and entry["args"] is None:
        # The entry point of planned images is an init process, which stays.
        entry["command" if plan.containerfile else "args"] = list(process.argv)
    if serves and not entry["ports"]:
        entry["ports"] = [plan.port]
    return entry
