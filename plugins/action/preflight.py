# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of M(cloudbang.platform.preflight): checks inventory and facts of all hosts on the controller."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic
from ansible_collections.cloudbang.platform.plugins.plugin_utils import declarations
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight import options
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.checks_hosts import OTHERS, package_variables
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.checks_ports import ways
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.inventory import (
    ERROR,
    HostFinding,
    Inventory,
    as_address,
)
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.run import condensed, demote, evaluate, table

ARGUMENTS = {"stage", "ignore", "report"}
STAGES = ("inventory", "hosts")
CONNECTION = ("ansible_host", "ansible_user", "ansible_port", "ansible_become", "ansible_become_user")
UNLIMITED = 10_000
FACTS = "__preflight_facts"
LATER = "ansible_facts"


class ActionModule(ActionBase):
    """Builds the model from Ansible's variables, runs the checks and reports."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        unknown = set(self._task.args) - ARGUMENTS
        stage = str(self._task.args.get("stage", "hosts"))
        if unknown or stage not in STAGES:
            raise AnsibleActionFail(
                f"preflight: found options {sorted(self._task.args)} and stage {stage!r}; "
                f"wanted {sorted(ARGUMENTS)} and stage {' or '.join(STAGES)}"
            )
        start = time.monotonic()
        inventory = self._inventory(task_vars or {}, with_facts=stage == "hosts")
        found = evaluate(inventory, STAGES[: STAGES.index(stage) + 1])
        findings = demote(found, [str(one) for one in self._task.args.get("ignore") or []])
        errors = [one for one in findings if one.severity == ERROR]
        report = self._report(inventory, findings)
        if self._task.args.get("report"):
            write(Path(str(self._task.args["report"])).expanduser(), report)
        self._show(condensed(findings, inventory.nodes), stage)
        result.update(
            changed=False,
            problems=report["problems"],
            errors=len(errors),
            summary=summary(errors, inventory, bool(self._task.args.get("report"))),
            plan=plan(inventory) if stage == "inventory" else {},
            seconds=round(time.monotonic() - start, 3),
        )
        return result

    def _inventory(self, variables: dict[str, Any], with_facts: bool) -> Inventory:
        groups = {name: tuple(hosts) for name, hosts in variables["groups"].items()}
        hosts = groups.get("all", ())
        load = partial(load_file, self._loader)
        known = options.options(load)
        defaults = options.defaults(load)
        raw = {host: variables["hostvars"].raw_get(host) for host in hosts}
        # Variables of the play and the command line are not in an inventory host's variables.
        mine = raw.get(variables["inventory_hostname"], {})
        common = {
            name: value
            for name, value in variables.items()
            if name in known and name not in mine and not is_default(value, defaults.get(name))
        }
        written, settings, errors = {}, {}, {}
        for host in hosts:
            own = {name: value for name, value in {**common, **raw[host]}.items() if not name.startswith("__")}
            everything = {**defaults, **common, **raw[host], "hostvars": variables["hostvars"]}
            names = [name for name in own if name in known or name in CONNECTION or name.startswith(prefixes(known))]
            names = [name for name in names if name not in known or known[name].judged]
            written[host] = own
            settings[host], errors[host] = self._templated(everything, {*names, *defaults}, set(names))
        facts = {}
        for host in hosts if with_facts else ():
            answer = raw[host].get(FACTS)
            if isinstance(answer, Mapping) and not answer.get("skipped"):
                facts[host] = dict(answer.get("facts") or lost(answer))
        return Inventory(
            hosts=hosts,
            groups=groups,
            variables=written,
            settings=settings,
            errors={host: found for host, found in errors.items() if found},
            facts=facts,
            options=known,
            roles=options.role_names(),
            declared=declarations.roles(load),
            sources=tuple(str(one) for one in variables.get("ansible_inventory_sources") or () if os.path.exists(one)),
            versions=options.versions(load),
            now=time.time(),
            inject_facts=bool(constants.config.get_config_value("INJECT_FACTS_AS_VARS")),
            yaml_endings=tuple(constants.YAML_FILENAME_EXTENSIONS),
            ignored_endings=tuple(constants.INVENTORY_IGNORE_EXTS),
            ignored_patterns=tuple(constants.INVENTORY_IGNORE_PATTERNS),
        )

    def _templated(
        self, variables: dict[str, Any], names: set[str], own: set[str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the values of variables, and the errors of those that the user set."""
        templar = self._templar.copy_with_new_env(available_variables=variables)
        values: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for name in sorted(names):
            try:
                value = variables[name]
                if not is_plain(value):
                    value = templar.template(value)
                # ansible-core before 2.19 decrypts a value only when it is used.
                values[name] = str(value) if type(value).__name__ == "AnsibleVaultEncryptedUnicode" else value
            except Exception as error:
                # Facts are gathered later than this.
                if name in own and LATER not in str(error):
                    errors[name] = " ".join(str(getattr(error, "message", error)).split())
        return values, errors

    def _report(self, inventory: Inventory, findings: list[HostFinding]) -> dict[str, Any]:
        return {
            "hosts": list(inventory.nodes),
            "not_examined": [host for host in inventory.nodes if host not in inventory.facts],
            "errors": sum(one.severity == ERROR for one in findings),
            "warnings": sum(one.severity != ERROR for one in findings),
            "problems": [one.as_dict() for one in findings],
        }

    def _show(self, findings: list[HostFinding], stage: str) -> None:
        """Show one table at the end, of everything; before the hosts are asked only how much there is so far."""
        if not findings:
            return
        errors = sum(one.severity == ERROR for one in findings)
        color = "red" if errors else "yellow"
        if stage == "inventory":
            count = f"{errors} errors, {len(findings) - errors} warnings"
            Display().display(f"The inventory has {count}; they are shown with those of the hosts.", color=color)
            return
        # A log is searched, so a row there is one line.
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED
        Display().display(table(findings, width), color=color)


def plan(inventory: Inventory) -> dict[str, Any]:
    """Return the hosts to contact, each with its parameters, and the connections to try by groups of users."""
    hosts = {}
    packages = package_variables(inventory)
    for host in inventory.nodes:
        if any(name in CONNECTION for name in inventory.errors.get(host, {})):
            continue
        hosts[host] = {
            "address": str(inventory.address(host) or ""),
            "vip": str(as_address(inventory.get(host, "cloudbang_api_vip")) or "")
            if inventory.member(host, "loadbalancer")
            else "",
            "vip_port": inventory.number(host, "cloudbang_api_port", 6443),
            "packages": sorted({name for names in packages[host].values() for name in names}),
            "fsync": str(inventory.get(host, "etcd_data_dir", "/var/lib/etcd")) if host in inventory.etcd else "",
        }
    units = {port.unit: port.mark for role in inventory.declared for port in role.ports}
    others = [unit for _what, names, _hint in OTHERS for unit in names]
    return {"hosts": hosts, "ways": ways(inventory), "units": units, "others": others}


def prefixes(known: Mapping[str, Any]) -> tuple[str, ...]:
    return ("cloudbang_", *(f"{role}_" for role in options.role_names())) if known else ()


def is_plain(value: Any) -> bool:
    """Return whether a value has no template in it; templating is what takes the time."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value and "{#" not in value
    return value is None or isinstance(value, (bool, int, float))


def is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def lost(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts for a host whose task failed before it returned any."""
    return {"reached": False, "reason": " ".join(str(answer.get("msg") or "no answer").split())}


def load_file(loader: Any, path: str) -> Any:
    """Read a file of this collection, whose templates are trusted."""
    trust = (
        {"trusted_as_template": True} if "trusted_as_template" in signature(loader.load_from_file).parameters else {}
    )
    try:
        return loader.load_from_file(path, **trust)
    except AnsibleError as error:
        raise AnsibleActionFail(f"{path}: {error}") from error


def summary(errors: list[HostFinding], inventory: Inventory, reported: bool) -> str:
    if not errors:
        return ""
    count = len(condensed(errors, inventory.nodes))
    where = "in the table above and in preflight_report" if reported else "in the table above"
    return f"{count} problem{'s' * (count != 1)}: {where}. Nothing was changed."


def write(path: Path, report: dict[str, Any]) -> None:
    """Write the report, whose directory is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, json.dumps(report, indent=2) + "\n", 0o644)
