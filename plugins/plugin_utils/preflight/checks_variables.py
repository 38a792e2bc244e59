# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the user's variables: names, types, and unusable values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .inventory import ERROR, WARNING, HostFinding, Inventory, Option, check, shown

OWN_PREFIX = "cloudbang_"
NUMBER_WITH_UNIT = re.compile(r"\s*\d+(\.\d+)?\s*[a-zA-Z]+\s*")
TYPE_NAMES = {
    "bool": "true or false without quotes",
    "int": "a number without unit",
    "float": "a number without unit",
    "list": "a list",
    "dict": "a mapping",
    "str": "a string",
    "path": "a path",
}
# Roles that make machines; what an inventory says about those is no business of the platform.
UNJUDGED = ("lab",)
CONNECTION = ("ansible_host", "ansible_user", "ansible_port")
# Other installers read them as variables.
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
REMOVED: Mapping[str, str] = {
    "cloudbang_vip": "cloudbang_api_vip",
    "cloudbang_network_plugin": "cloudbang_network",
    "cloudbang_pods_cidr": "cloudbang_pod_cidr",
    "cloudbang_services_cidr": "cloudbang_service_cidr",
    "coredns_metrics_server": "metrics_server_enabled",
}


def known_to_user(inventory: Inventory, host: str) -> Iterator[tuple[str, Any, Option]]:
    """Return name, templated value and option of each variable that the user set, if it is checked and has a value."""
    for name in inventory.variables.get(host, {}):
        option = inventory.options.get(name)
        if option is not None and option.judged and name not in inventory.errors.get(host, {}):
            yield name, inventory.settings.get(host, {}).get(name), option


@check("inventory")
def values_can_be_used(inventory: Inventory) -> Iterator[HostFinding]:
    """Jinja that refers to nothing, or a vault that was not opened."""
    for host, errors in inventory.errors.items():
        for name, message in errors.items():
            vault = "vault" in message.lower() or "decrypt" in message.lower()
            wanted = "a value that the given vault password opens" if vault else "an expression that has a value"
            yield HostFinding(host, "vault" if vault else "undefined", name, message, wanted)


@check("inventory")
def vault_text_is_opened(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        for name, value in inventory.settings.get(host, {}).items():
            if isinstance(value, str) and value.lstrip().startswith("$ANSIBLE_VAULT;"):
                yield HostFinding(host, "vault", name, "encrypted text", "its content", "the tag !vault is missing")


def misspelt(name: str, options: Iterable[str]) -> str:
    """Return the option that a name is meant to be: with the same words, but for one that is cut or misspelt."""
    words = name.split("_")
    for option in difflib.get_close_matches(name, options, 5, 0.75):
        others = option.split("_")
        if "".join(words) == "".join(others):
            return option
        differ = [(one, other) for one, other in zip(words, others) if one != other]
        if len(words) != len(others) or len(differ) != 1:
            continue
        [(one, other)] = differ
        if one.startswith(other) or other.startswith(one) or difflib.SequenceMatcher(None, one, other).ratio() >= 0.75:
            return option
    return ""


def name_fault(name: str, inventory: Inventory, prefixes: tuple[str, ...]) -> tuple[str, str, str, str] | None:
    """Return found, wanted, hint and severity for the name of a variable, None when nothing is wrong with it.

    One with our prefix that no role has is a typing error: nothing would ever read it. One that begins with the name of
    a role may be for another collection's role or playbook, unless it is nearly right.
    """
    if name in inventory.options or name.startswith(("_", "ansible_")):
        return None
    if name in REMOVED:
        return "an old name", REMOVED[name], "it was renamed", ERROR
    meant = misspelt(name, inventory.options)
    close = [meant] if meant else difflib.get_close_matches(name, inventory.options, 1, 0.75)
    hint = f"did you mean {close[0]}?" if close else "docs/ and the roles' READMEs list them"
    severity = ERROR
    if not name.startswith(OWN_PREFIX):
        if not name.startswith(prefixes) and not difflib.get_close_matches(name, inventory.options, 1, 0.92):
            return None
        severity = ERROR if meant and name.startswith(prefixes) else WARNING
        if severity == ERROR:
            hint += f"; if another playbook reads it, preflight_ignore: [unknown_variable:{name}]"
    return "no such variable", "a variable of a role", hint, severity


@check("inventory")
def names_are_known(inventory: Inventory) -> Iterator[HostFinding]:
    prefixes = tuple(f"{role}_" for role in inventory.roles if role not in UNJUDGED)
    # Hosts have the same names, and other programs' variables may be many.
    faults: dict[str, tuple[str, str, str, str] | None] = {}
    for host in inventory.nodes:
        for name in inventory.variables.get(host, {}):
            if name not in faults:
                faults[name] = name_fault(name, inventory, prefixes)
            fault = faults[name]
            if fault is not None:
                yield HostFinding(host, "unknown_variable", name, *fault)


@check("inventory")
def proxies_are_no_variables(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        for name in inventory.variables.get(host, {}):
            if name.lower() in PROXIES:
                yield HostFinding(
                    host,
                    "proxy",
                    name,
                    "a variable, which nothing reads",
                    "the proxy where it is used",
                    "export it where ansible-playbook runs, which downloads everything but packages; for those set "
                    "Acquire::http::Proxy in /etc/apt/apt.conf.d on the hosts",
                    WARNING,
                )


def type_fault(option: Option, value: Any) -> str:
    """Return the wanted type for a value of the wrong type, nothing when the type is right."""
    right = {
        "bool": isinstance(value, bool),
        "int": (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, str) and value.strip().lstrip("-").isdigit()),
        "float": isinstance(value, (int, float)) and not isinstance(value, bool),
        "list": isinstance(value, list),
        "dict": isinstance(value, Mapping),
        "str": isinstance(value, (str, int)) and not isinstance(value, bool),
        "path": isinstance(value, str),
    }.get(option.type, True)
    return "" if right else TYPE_NAMES[option.type]


@check("inventory")
def types(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        for name, value, option in known_to_user(inventory, host):
            found = shown(name, value, inventory.options)
            if value is None:
                if not option.optional:
                    wanted = f"{TYPE_NAMES.get(option.type, 'a value')}, or no such line"
                    yield HostFinding(host, "null", name, found, wanted, "a name without a value is null in YAML")
                continue
            wanted = type_fault(option, value)
            if not wanted:
                continue
            hint = ""
            if isinstance(value, float):
                hint = "quote it: YAML reads 1.30 as the number 1.3"
            elif option.type == "bool" and isinstance(value, str):
                hint = "in an INI inventory or with -e name=value, write True or use YAML"
            elif option.type == "int" and isinstance(value, str) and NUMBER_WITH_UNIT.fullmatch(value):
                hint = "the unit is not part of the value"
            yield HostFinding(host, "type", name, f"{found} ({type_name(value)})", wanted, hint)


def type_name(value: Any) -> str:
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "string"), (list, "list")):
        if isinstance(value, kind):
            return name
    return "mapping" if isinstance(value, Mapping) else type(value).__name__


@check("inventory")
def elements(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        for name, value, option in known_to_user(inventory, host):
            if not isinstance(value, list) or not option.elements:
                continue
            for number, one in enumerate(value):
                wanted = "a value" if one is None else type_fault(Option(name, option.elements), one)
                if wanted:
                    yield HostFinding(host, "type", f"{name}[{number}]", shown(name, one, inventory.options), wanted)


@check("inventory")
def entries(inventory: Inventory) -> Iterator[HostFinding]:
    """What an entry of a list consists of, as the role's own validation would find it."""
    for host in inventory.nodes:
        for name, value, option in known_to_user(inventory, host):
            if not isinstance(value, list) or not option.inner:
                continue
            validator = ArgumentSpecValidator(dict(option.inner))
            wanted = f"an entry with {', '.join(option.inner)}"
            for number, one in enumerate(value):
                for message in validator.validate(dict(one)).error_messages if isinstance(one, Mapping) else ():
                    # Messages of the validator contain values.
                    found = "something else (not shown)" if option.secret else message
                    yield HostFinding(host, "entry", f"{name}[{number}]", found, wanted)


@check("inventory")
def choices(inventory: Inventory) -> Iterator[HostFinding]:
    for host in inventory.nodes:
        for name, value, option in known_to_user(inventory, host):
            if option.choices and isinstance(value, str) and value not in option.choices:
                close = difflib.get_close_matches(value, [str(one) for one in option.choices], 1)
                yield HostFinding(
                    host,
                    "choice",
                    name,
                    shown(name, value, inventory.options),
                    f"one of {', '.join(str(one) for one in option.choices)}",
                    f"did you mean {close[0]}?" if close else "",
                )


@check("inventory")
def text_is_clean(inventory: Inventory) -> Iterator[HostFinding]:
    """A blank at the end of a token, or a carriage return from another system's editor, is sent as it is."""
    for host in inventory.nodes:
        names = [name for name, _value, option in known_to_user(inventory, host) if option.type in ("str", "path")]
        for name in [*names, *(one for one in CONNECTION if one in inventory.variables.get(host, {}))]:
            value = inventory.settings.get(host, {}).get(name)
            if not isinstance(value, str):
                continue
            if "\r" in value:
                yield HostFinding(host, "text", name, "a carriage return in it", "text without it", "the file has CRLF")
            elif value != value.strip():
                yield HostFinding(host, "text", name, "blanks around it", "text without them")


@check("inventory")
def variables_are_where_they_work(inventory: Inventory) -> Iterator[HostFinding]:
    """Settings of a kind of node have no effect on hosts that are not of that kind."""
    places = {
        # Management hosts need to know where etcd is.
        f"{role.name}_": ("management", *role.groups) if "etcd" in role.groups else role.groups
        for role in inventory.declared
        if role.groups
    }
    for host in inventory.nodes:
        for name in inventory.variables.get(host, {}):
            for prefix, groups in places.items():
                if not name.startswith(prefix) or name not in inventory.options or inventory.member(host, *groups):
                    continue
                used = [one for one in inventory.nodes if inventory.member(one, *groups)]
                if any(name in inventory.variables.get(one, {}) for one in used):
                    continue
                yield HostFinding(
                    host,
                    "wrong_group",
                    name,
                    "set on a host that does not use it",
                    f"set for group {' or '.join(groups)}",
                    "no host that uses it has it",
                    WARNING,
                )
