# SPDX-License-Identifier: GPL-3.0-or-later
"""`goodnetctl`: people look at a host's network with it, and keepalived says who holds the external addresses."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from goodnet.cni.plugin import SOCKET, AgentAway, ask
from goodnet.diagnostics.explain import PROTOCOLS
from goodnet.errors import FAILED, CniError
from goodnet.host import keepalived
from goodnet.ovs.flows import Cookie, Table

ROLE_FILE = Path("/run/goodnet/provider")
# What the exit status says: done; the answer is no (not ready, dropped); the command could not be carried out.
OK, NO, ERROR = 0, 1, 2
_KINDS = {
    Cookie.PIPELINE: "pipeline",
    Cookie.HOST: "hosts",
    Cookie.TENANT: "tenants",
    Cookie.POD: "pods",
    Cookie.POLICY: "policies",
}
_TABLES = {value: name.lower().replace("_", " ") for name, value in vars(Table).items() if not name.startswith("_")}

Answer = dict[str, Any]


def main(arguments: Sequence[str] | None = None, socket: str = SOCKET) -> int:
    given = _parser().parse_args(arguments)
    given.socket = socket
    try:
        status: int = given.run(given)
        return status
    except CniError as problem:
        print(f"goodnetctl: {problem}", file=sys.stderr)
        return ERROR
    except BrokenPipeError:
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="goodnetctl", description="Looks at the tenant network of this host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("--json", action="store_true", help="print everything as JSON")
        command.set_defaults(run=run)
        return command

    add("status", _status, "Say whether this host is ready, and show hosts and pods. Exit status 1: not ready.")
    add("tenants", _tenants, "Show the tenants with VNI, network, namespaces and external address.")
    flows = add("flows", _flows, "Count the flows of each table and the packets that met them.")
    flows.add_argument("--table", type=int, help="show the flows of this table instead")
    trace = add("trace", _trace, "Explain why a packet passes or is dropped. Exit status 1: dropped.")
    trace.add_argument("source", metavar="POD", help="NAMESPACE/NAME or IPv4 address that sends")
    trace.add_argument("destination", metavar="POD", help="NAMESPACE/NAME or IPv4 address that receives")
    trace.add_argument("--port", type=int, default=80, help="destination port (default: %(default)s)")
    trace.add_argument("--protocol", default="tcp", choices=PROTOCOLS, help="protocol (default: %(default)s)")
    trace.add_argument("--verbose", action="store_true", help="print the switch's own words, too")
    asked = add(
        "provider", _provider, "Show who holds the external addresses, or (keepalived) say whether this host does."
    )
    asked.add_argument("role", nargs="?", choices=(keepalived.MASTER, keepalived.BACKUP))
    return parser


def _ask(given: argparse.Namespace, request: Answer) -> Answer:
    return ask({"socket": given.socket}, request, 0)


def _status(given: argparse.Namespace) -> int:
    answer = _ask(given, {"op": "show"})
    _print(given, answer, status_text)
    return OK if answer["ready"] else NO


def _tenants(given: argparse.Namespace) -> int:
    _print(given, _ask(given, {"op": "show"})["tenants"], tenants_text)
    return OK


def _flows(given: argparse.Namespace) -> int:
    command = ["ovs-ofctl", "-O", "OpenFlow14", "--no-names", "dump-flows", "br-goodnet"]
    if given.table is not None:
        command.append(f"table={given.table}")
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise CniError(FAILED, f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    rows = flow_rows(done.stdout)
    if given.table is not None and not given.json:
        print("\n".join(line.strip() for line in done.stdout.splitlines() if "table=" in line))
    else:
        _print(given, rows, flows_text)
    return OK


def _trace(given: argparse.Namespace) -> int:
    request = {name: getattr(given, name) for name in ("source", "destination", "port", "protocol")}
    answer = _ask(given, {"op": "trace", **request})
    _print(given, answer, lambda found: trace_text(found, given.verbose))
    return OK if answer["passes"] else NO


def _provider(given: argparse.Namespace) -> int:
    if given.role is not None:
        # The file first: an agent that is not there now reads it when it starts.
        keepalived.set_role(ROLE_FILE, given.role)
        try:
            answer = _ask(given, {"op": "provider"})
        except AgentAway:
            print(f"goodnetctl: this host is {given.role}; the agent does not run and will see it", file=sys.stderr)
            return OK
        if given.json:
            print(json.dumps(answer, indent=2))
        return OK
    answer = _ask(given, {"op": "show"})
    _print(given, answer, provider_text)
    return OK


def _print(given: argparse.Namespace, answer: Any, text: Callable[[Any], str]) -> None:
    print(json.dumps(answer, indent=2) if given.json else text(answer))


def status_text(answer: Answer) -> str:
    """Return the answer to `show` for people."""
    lists = answer["lists"]
    stale = sorted(name for name, in_contact in lists.items() if not in_contact)
    facts = [
        ("node", answer["node"]),
        ("ready", "yes" if answer["ready"] else f"no: {answer['why']}"),
        ("network", f"{answer['encapsulation']} over the {answer['datapath']} datapath, MTU {answer.get('mtu', '?')}"),
        ("API", "in contact" if not stale else f"away for {', '.join(stale)}; the last state stays in force"),
        ("policies", ", ".join(answer["policies"]) or "none for pods of this host"),
        ("problems", answer["problems"][0] if answer["problems"] else "none"),
        *(("", problem) for problem in answer["problems"][1:]),
    ]
    parts = ["\n".join(f"{name:<10}{value}" for name, value in facts)]
    hosts = [(one["name"], one["pods"], one["underlay"], "edge" if one["edge"] else "") for one in answer["hosts"]]
    parts.append(_table(("HOST", "PODS", "TUNNEL", ""), hosts))
    pods = [(f"{one['namespace']}/{one['name']}", one["address"], one["tenant"], one["port"]) for one in answer["pods"]]
    parts.append(_table(("POD", "ADDRESS", "TENANT", "PORT"), pods))
    return "\n\n".join(parts)


def tenants_text(tenants: Sequence[Answer]) -> str:
    """Return a line for each tenant. PODS are those of this host."""
    rows = [
        (
            one["name"],
            one["vni"],
            "open" if one["network"] == "open" else ", ".join(["isolated", *(f"+{peer}" for peer in one["peers"])]),
            one["pods"],
            f"{one['external']} on {one['edge'] or 'no host'}" if one["external"] else "",
            ",".join(one["namespaces"]),
        )
        for one in tenants
    ]
    return _table(("TENANT", "VNI", "NETWORK", "PODS", "EXTERNAL", "NAMESPACES"), rows)


def flow_rows(dump: str) -> list[Answer]:
    """Return for each table how many flows it has of each kind, and how many packets met them."""
    rows: dict[int, Answer] = {}
    for line in dump.splitlines():
        found = re.search(r"cookie=(0x[0-9a-f]+),.* table=(\d+), n_packets=(\d+)", line)
        if not found:
            continue
        cookie, table, packets = int(found[1], 16), int(found[2]), int(found[3])
        row = rows.setdefault(
            table,
            {"table": table, "name": _TABLES.get(table, "?"), "flows": 0, "packets": 0, "dropped": 0, "kinds": {}},
        )
        row["flows"] += 1
        row["packets"] += packets
        row["dropped"] += packets if line.rstrip().endswith("actions=drop") else 0
        kind = _KINDS.get(cookie >> 32 & 0xFFFF, "?")
        row["kinds"][kind] = row["kinds"].get(kind, 0) + 1
    return [rows[table] for table in sorted(rows)]


def flows_text(rows: Sequence[Answer]) -> str:
    """Return a line for each table and the sum."""
    lines = [
        (
            row["table"],
            row["name"],
            row["flows"],
            row["packets"],
            row["dropped"],
            ", ".join(f"{count} {kind}" for kind, count in sorted(row["kinds"].items())),
        )
        for row in rows
    ]
    total = ("", "all", *(sum(row[key] for row in rows) for key in ("flows", "packets", "dropped")), "")
    return _table(("TABLE", "NAME", "FLOWS", "PACKETS", "DROPPED", "FOR"), [*lines, total])


def trace_text(answer: Answer, verbose: bool) -> str:
    """Return the way of the packet, the verdict and what to do."""
    parts = ["\n".join(answer["steps"]), "\n".join(part for part in (answer["verdict"], answer["advice"]) if part)]
    if verbose:
        parts.append(answer["trace"].strip())
    return "\n\n".join(parts)


def provider_text(answer: Answer) -> str:
    """Return who holds the external addresses, and which there are."""
    found = answer["provider"]
    holder = found["holder"] or "nobody"
    here = "an edge host" if found["edge"] else "no edge host"
    part = f"{here}{', master' if found['master'] else ''}"
    rows = [(one["name"], one["external"], one["edge"] or "") for one in answer["tenants"] if one["external"]]
    facts = f"holder    {holder}\nthis host {part}"
    return f"{facts}\n\n{_table(('TENANT', 'EXTERNAL', 'HOLDER'), rows)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
