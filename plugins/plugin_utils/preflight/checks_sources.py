# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the inventory's files, which Ansible reads more forgivingly than is good for the reader."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import yaml
except ImportError:
    HAS_YAML = False
else:
    HAS_YAML = True

from .inventory import HostFinding, Inventory, check

HOST = "inventory"
# Endings of inventories that people write; Ansible tries everything else in a directory and goes on without it.
INI_ENDINGS = ("", ".ini", ".toml")
# What Ansible never takes for an inventory in a directory of inventories.
NO_INVENTORY = ("group_vars", "host_vars", "vars_plugins")
MAX_BYTES = 4_000_000


def files(inventory: Inventory) -> Iterator[tuple[Path, bool]]:
    """Return the files that Ansible reads for the inventory's sources, each once, and whether it takes them for YAML.

    Those are the sources, and beside them the variables of groups and hosts. What else is in these directories, such as
    notes and backups, is nobody's business.
    """
    seen: set[Path] = set()
    for source in map(Path, inventory.sources):
        base = source if source.is_dir() else source.parent
        found = [(one, one.suffix in inventory.yaml_endings) for one in inventories(source, inventory)]
        for place, names in (("group_vars", inventory.groups), ("host_vars", inventory.hosts)):
            found += [(one, True) for name in names for one in variables(base / place, str(name), inventory)]
        for path, is_yaml in found:
            if path not in seen:
                seen.add(path)
                yield path, is_yaml


def inventories(source: Path, inventory: Inventory) -> Iterator[Path]:
    """Return a source that is a file, or the inventories in a directory; none that is a program."""
    if source.is_file():
        if not os.access(source, os.X_OK):
            yield source
        return
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        ignored = (
            path.name.startswith(".")
            or path.name in NO_INVENTORY
            or path.name.endswith(inventory.ignored_endings)
            or any(re.search(pattern, path.name) for pattern in inventory.ignored_patterns)
        )
        if not ignored and (path.is_dir() or path.suffix in (*INI_ENDINGS, *inventory.yaml_endings)):
            yield from inventories(path, inventory)


def variables(place: Path, name: str, inventory: Inventory) -> Iterator[Path]:
    """Return the files with the variables of a group or host: of its file or directory, Ansible takes the first."""
    for ending in ("", *inventory.yaml_endings):
        path = place / f"{name}{ending}"
        if path.exists():
            yield from within(path, inventory) if path.is_dir() else (path,)
            return


def within(directory: Path, inventory: Inventory) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix:
            yield from within(path, inventory)
        elif path.is_file() and path.suffix in ("", *inventory.yaml_endings):
            yield path


def duplicates(text: str) -> Iterator[tuple[str, int, int]]:
    """Return key, line and first line of each key that a YAML mapping has twice."""
    pending: list[Any] = [one for one in yaml.compose_all(text, Loader=yaml.SafeLoader) if one is not None]
    visited: set[int] = set()
    while pending:
        node = pending.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                name, line = str(key.value), key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode):
                    if name in lines and name != "<<":
                        yield name, line, lines[name]
                    lines.setdefault(name, line)
                pending.append(value)
        elif isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)


@check("inventory")
def inventory_files(inventory: Inventory) -> Iterator[HostFinding]:
    for path, is_yaml in files(inventory):
        if path.stat().st_size <= MAX_BYTES:
            yield from one_file(path, is_yaml)


def one_file(path: Path, is_yaml: bool) -> Iterator[HostFinding]:
    where = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        yield HostFinding(HOST, "file", where, str(error.strerror), "a file that can be read")
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield HostFinding(
            HOST, "file_encoding", where, f"a byte in line {line} that is not UTF-8", "UTF-8", "convert it with iconv"
        )
        return
    if "\r\n" in text:
        yield HostFinding(
            HOST, "file_crlf", where, "lines that end in CRLF", "lines that end in LF", "convert it with dos2unix"
        )
    if text.startswith("$ANSIBLE_VAULT;") or not HAS_YAML:
        return
    if is_yaml:
        try:
            for key, line, first in duplicates(text):
                yield HostFinding(
                    HOST,
                    "file_duplicate_key",
                    f"{where}:{line}",
                    f"{key} a second time",
                    "each key once",
                    f"the first in line {first} has no effect",
                )
        except yaml.YAMLError as error:
            yield HostFinding(HOST, "file_yaml", where, " ".join(str(error).split()), "YAML")
