# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which app leads where: domains to apps, and apps to those they are bound to; as data, DOT and Mermaid. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.cloudbang.platform.plugins.module_utils.texts import visible

Topology = dict[str, list[dict[str, Any]]]


def topology(apps: Iterable[Mapping[str, Any]]) -> Topology:
    """Return the nodes and edges of apps as `app_info` describes them (tenant, name, domains, routes, bindings, ...).

    A node has an id, a kind (app or domain), a label, a tenant (None for a domain) and a status (None when the node is
    only known as a target). An edge has the ids it leads from and to, a kind (route or binding) and the names of the
    environment that a binding gives.
    """
    nodes: dict[str, dict[str, Any]] = {}
    edges: list[dict[str, Any]] = []
    for app in apps:
        own = f"{app['tenant']}/{app['name']}"
        nodes[own] = _node(own, "app", app["name"], app["tenant"], app.get("status"))
        routed = [domain for route in app.get("routes") or [] for domain in route["domains"]]
        for domain in dict.fromkeys([*(app.get("domains") or []), *routed]):
            nodes[domain] = _node(domain, "domain", domain, None, None)
            edges.append({"from": domain, "to": own, "kind": "route", "env": []})
        for binding in app.get("bindings") or []:
            target = f"{binding['tenant']}/{binding['target']}"
            nodes.setdefault(target, _node(target, binding["kind"], binding["target"], binding["tenant"], None))
            names = sorted([*binding["env"], *binding["secret_env"]])
            edges.append({"from": own, "to": target, "kind": "binding", "env": names})
    return {
        "nodes": [nodes[key] for key in sorted(nodes)],
        "edges": sorted(edges, key=lambda edge: (edge["from"], edge["to"])),
    }


def _node(own: str, kind: str, label: str, tenant: str | None, status: str | None) -> dict[str, Any]:
    return {"id": own, "kind": kind, "label": label, "tenant": tenant, "status": status}


def _by_tenant(found: Topology) -> list[tuple[str | None, list[tuple[int, dict[str, Any]]]]]:
    """Return the numbered nodes of each tenant, those without one first."""
    groups: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, node in enumerate(found["nodes"]):
        groups.setdefault(node["tenant"] or "", []).append((number, node))
    return [(tenant or None, groups[tenant]) for tenant in sorted(groups)]


def _label(node: Mapping[str, Any]) -> str:
    return f"{node['label']} ({node['status']})" if node["status"] else str(node["label"])


def dot(found: Topology) -> str:
    """Return a topology in the language of Graphviz."""
    lines = ["digraph apps {", "  rankdir=LR;"]
    for number, (tenant, nodes) in enumerate(_by_tenant(found)):
        inside = []
        for _number, node in nodes:
            shape = "box" if node["kind"] == "app" else "ellipse"
            inside.append(f"{json.dumps(node['id'])} [label={json.dumps(_label(node))}, shape={shape}];")
        if tenant is None:
            lines += [f"  {line}" for line in inside]
        else:
            lines += [f"  subgraph cluster_{number} {{", f"    label={json.dumps(tenant)};"]
            lines += [f"    {line}" for line in inside] + ["  }"]
    for edge in found["edges"]:
        label = f" [label={json.dumps(', '.join(edge['env']))}]" if edge["env"] else ""
        lines.append(f"  {json.dumps(edge['from'])} -> {json.dumps(edge['to'])}{label};")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(found: Topology) -> str:
    """Return a topology as a flowchart of Mermaid."""
    numbers = {node["id"]: f"n{number}" for number, node in enumerate(found["nodes"])}
    lines = ["flowchart LR"]
    for group, (tenant, nodes) in enumerate(_by_tenant(found)):
        inside = []
        for number, node in nodes:
            text = _mermaid_text(_label(node))
            inside.append(f'n{number}["{text}"]' if node["kind"] == "app" else f'n{number}(["{text}"])')
        if tenant is None:
            lines += [f"  {line}" for line in inside]
        else:
            lines += [f'  subgraph t{group}["{_mermaid_text(tenant)}"]', *(f"    {line}" for line in inside), "  end"]
    for edge in found["edges"]:
        label = f"|{', '.join(edge['env'])}|" if edge["env"] else ""
        lines.append(f"  {numbers[edge['from']]} -->{label} {numbers[edge['to']]}")
    return "\n".join(lines) + "\n"


def _mermaid_text(text: str) -> str:
    """Return a text as a label of Mermaid: no end of its quotes, no markup and no other line in it."""
    for character, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        text = text.replace(character, entity)
    return visible(text)


FORMS: dict[str, Callable[[Topology], str]] = {"dot": dot, "mermaid": mermaid}
