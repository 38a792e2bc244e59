# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What releases, stacks and annotations may have in them: all that is used of them is checked here. Pure."""

from __future__ import annotations

import re
from decimal import DecimalException
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.kube.quantities import quantity
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import IMAGE_DIGEST
from ansible_collections.cloudbang.platform.plugins.module_utils.records import (
    Schema,
    also,
    anything,
    choice,
    flag,
    mapping,
    maybe,
    number,
    record,
    sequence,
    text,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from .options import LABEL
from .spec import ENV_NAME, MAX_INSTANCES, MAX_REPLICAS, NODE_LABEL, PORT_NAME, SERVICE_LABEL
from .types import ON_HOSTS, STRATEGIES, TYPES

STATUSES = ("pending", "good", "failed", "superseded")
HEARTBEAT_TEXT = text(12, re.compile(r"[0-9]+\Z"), "seconds since 1970")
HEXADECIMAL = re.compile(r"[0-9a-f]+\Z")
OBJECT_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?\Z")
WORD = re.compile(r"[a-z_]+\Z")

APP_NAME = text(52, SERVICE_LABEL, "the name of an app")
TENANT_NAME = text(63, LABEL, "the name of a tenant")
_PROCESS_NAME = text(63, LABEL, "the name of a process")
_OBJECT = text(253, OBJECT_NAME, "the name of an object")
_VARIABLE = text(32_768, ENV_NAME, "the name of a variable")
_MARK = text(64, HEXADECIMAL, "a fingerprint")
_TEXTS = sequence(text())
_PORT_NUMBER = number(1, 65535)


def _amount(value: Any, place: str) -> str:
    """Accept quantities, which are compared later."""
    said = text(40)(value, place)
    try:
        known = not said and quantity(value) is not None
    except (DecimalException, OverflowError):
        known = False
    return said if said or known else f"{place}: found {shown(value)}, wanted a quantity"


_AMOUNTS = mapping(_amount, text(63, OBJECT_NAME, "the name of a resource"))


def _named_once(value: Any, place: str) -> str:
    """Accept lists of mappings without a name twice."""
    names = [entry["name"] for entry in value]
    return "" if len(set(names)) == len(names) else f"{place}: found a name twice, wanted each once"


_PORTS = also(
    sequence(
        record(
            {
                "name": text(15, PORT_NAME, "the name of a port"),
                "port": _PORT_NUMBER,
                "protocol": choice("TCP", "UDP"),
            }
        ),
        1000,
    ),
    _named_once,
)
_SECONDS = number(1, 3600)
_PROBE_FIELDS = record(
    {},
    {
        "http": text(),
        "tcp": flag,
        "command": _TEXTS,
        "port": _PORT_NUMBER,
        "initial_delay": number(0, 3600),
        "period": _SECONDS,
        "timeout": _SECONDS,
        "failures": _SECONDS,
    },
)


def _probes_something(value: Any, place: str) -> str:
    """Accept probes that say what to try."""
    if value.get("command") or ((value.get("http") or value.get("tcp")) and "port" in value):
        return ""
    return f"{place}: found no command and no port, wanted one of them"


_PROBE = maybe(also(_PROBE_FIELDS, _probes_something))
_PROCESS = record(
    {
        "name": _PROCESS_NAME,
        "command": maybe(_TEXTS),
        "args": maybe(_TEXTS),
        "ports": _PORTS,
        "resources": record(
            {},
            {"requests": _AMOUNTS, "limits": _AMOUNTS},
        ),
        "readiness": _PROBE,
        "liveness": _PROBE,
        "startup": _PROBE,
    },
    {
        "placement": record(
            {},
            {
                "spread": choice("hosts", "zones", "none"),
                "node_labels": mapping(text(63), text(317, NODE_LABEL, "the name of a label")),
                "tolerations": sequence(text(317, NODE_LABEL, "the name of a taint")),
            },
        ),
        "host_network": flag,
        "schedule": record(
            {
                "at": text(1000),
                "concurrency": choice("allow", "forbid", "replace"),
                "history": record({"succeeded": number(0, 1000), "failed": number(0, 1000)}),
            },
            {"time_zone": text(100), "start_deadline": number(10, 10**6)},
        ),
        "run": record(
            {},
            {
                "parallelism": number(1, 1000),
                "completions": number(1, 10**6),
                "retries": number(0, 1000),
                "deadline": number(1, 10**8),
            },
        ),
    },
)
_FILE = record(
    {
        "path": text(),
        "key": text(253, re.compile(r"[-._a-zA-Z0-9]+\Z"), "the key of a file"),
        "mode": number(0, 0o777),
        "secret": flag,
        "content": _MARK,
    }
)
_EDGE = record(
    {
        "kind": text(20, WORD, "a kind of bindings"),
        "tenant": TENANT_NAME,
        "target": APP_NAME,
        "env": mapping(text(), _VARIABLE),
        "secret_env": mapping(_MARK, _VARIABLE),
        "secret": _OBJECT,
    }
)
_FIELDS = record(
    {
        "image": text(4096),
        "type": choice(*TYPES),
        "processes": also(sequence(_PROCESS, 1000, 1), _named_once),
        "env": mapping(text(), _VARIABLE),
        "secret_env": mapping(_MARK, _VARIABLE),
        "files": sequence(_FILE),
        "image_pull_secrets": sequence(_OBJECT),
        "drain": number(0, 3600),
        "grace": number(1, 86400),
        "env_secret": maybe(_OBJECT),
        "files_secret": maybe(_OBJECT),
    },
    {
        "strategy": choice(*STRATEGIES),
        "restart_key": maybe(text(253)),
        "bindings": sequence(_EDGE),
    },
)


def _fits(value: Any, place: str) -> str:
    """Accept specs whose processes have what their type needs."""
    for position, process in enumerate(value["processes"]):
        where = f"{place}.processes[{position}]"
        row = TYPES[value["type"]]
        if not row.lasting and "run" not in process:
            return f"{where}.run: found nothing, wanted how often it runs, because the type is {value['type']}"
        if row.scheduled and "schedule" not in process:
            return f"{where}.schedule: found nothing, wanted when it starts, because the type is {value['type']}"
        if process.get("host_network") and (not row.host_network or not process["ports"]):
            return f"{where}.host_network: found it, wanted a {' or '.join(ON_HOSTS)} process with ports"
    if value["files"] and not value["files_secret"]:
        return f"{place}.files_secret: found nothing, wanted the Secret of the files"
    return ""


def _sizes_fit(value: Any, place: str) -> str:
    """Accept releases that do not take more ports of hosts than one app may have."""
    on_hosts = {process["name"] for process in value["spec"]["processes"] if process.get("host_network")}
    large = [name for name in sorted(on_hosts) if value["replicas"].get(name, 1) > MAX_INSTANCES]
    return f"replicas.{large[0]}: found too many, wanted at most {MAX_INSTANCES} with host_network" if large else ""


SPEC: Schema = also(_FIELDS, _fits)
RELEASE = also(
    record(
        {
            "app": APP_NAME,
            "version": number(1, 10**9),
            "digest": _MARK,
            "salt": text(64, HEXADECIMAL, "hexadecimal digits"),
            "spec": SPEC,
            "replicas": mapping(number(0, MAX_REPLICAS), _PROCESS_NAME),
            "action": text(20, WORD, "what made the release"),
            "source": maybe(number(0, 10**9)),
            "created": text(40),
            "by": text(1000),
        },
        {"from_tenant": maybe(TENANT_NAME), "from_app": maybe(APP_NAME)},
    ),
    _sizes_fit,
)

_LINE = text(253)
_OPEN = mapping(anything)
STACK = record(
    {},
    {
        "apps": sequence(APP_NAME),
        "levels": sequence(sequence(APP_NAME)),
        "bindings": sequence(sequence(_LINE, 4, 4)),
        "routes": sequence(_LINE),
        "spec": record(
            {},
            {
                "apps": maybe(
                    sequence(
                        record(
                            {"name": APP_NAME},
                            {"secret_env": maybe(_OPEN), "secret_files": maybe(sequence(_OPEN))},
                        )
                    )
                ),
                "bindings": maybe(
                    sequence(record({"app": APP_NAME, "target": APP_NAME}, {"credentials": maybe(_OPEN)}))
                ),
                "routes": maybe(sequence(record({}, {"name": maybe(_LINE), "app": maybe(_LINE), "tls": anything}))),
            },
        ),
        "origin": record(
            {},
            {"template": record({"name": _LINE, "version": _LINE, "digest": text(71, IMAGE_DIGEST, "a digest")})},
        ),
        "generated": mapping(text(1024)),
    },
)
RESOURCES = mapping(_AMOUNTS, choice("requests", "limits"), 2)
