# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of the inventory's files, which Ansible reads more forgivingly than is good for the reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import yaml
except ImportError:
    HAS_YAML = False
else:
    HAS_YAML = True

from .inventory import Inventory, Problem, check

HOST = "inventory"
YAML_ENDINGS = (".yml", ".yaml", ".json")
IGNORED_ENDINGS = (".retry", ".orig", ".bak", ".cfg", "~", ".pyc", ".py", ".md", ".swp")
MAX_BYTES = 4_000_000


def files(sources: tuple[str, ...]) -> Iterator[Path]:
    """Return the files that Ansible reads for inventory sources: themselves, group_vars and host_vars beside them."""
    seen: set[Path] = set()
    for source in sources:
        path = Path(source)
        candidates = [path] if path.is_file() else []
        base = path if path.is_dir() else path.parent
        places = [base] if path.is_dir() else [base / "group_vars", base / "host_vars"]
        for place in places:
            if place.is_dir():
                candidates += sorted(one for one in place.rglob("*") if one.is_file())
        for one in candidates:
            if one not in seen and not one.name.startswith(".") and not one.name.endswith(IGNORED_ENDINGS):
                seen.add(one)
                yield one


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
def inventory_files(inventory: Inventory) -> Iterator[Problem]:
    for path in files(inventory.sources):
        if path.stat().st_size > MAX_BYTES or os.access(path, os.X_OK):
            continue
        yield from one_file(path)


def one_file(path: Path) -> Iterator[Problem]:
    where = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        yield Problem(HOST, "file", where, str(error.strerror), "a file that can be read")
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield Problem(
            HOST, "file_encoding", where, f"a byte in line {line} that is not UTF-8", "UTF-8", "convert it with iconv"
        )
        return
    if "\r\n" in text:
        yield Problem(
            HOST, "file_crlf", where, "lines that end in CRLF", "lines that end in LF", "convert it with dos2unix"
        )
    if text.startswith("$ANSIBLE_VAULT;") or not HAS_YAML:
        return
    if path.suffix in YAML_ENDINGS or path.parent.name in ("group_vars", "host_vars"):
        try:
            for key, line, first in duplicates(text):
                yield Problem(
                    HOST,
                    "file_duplicate_key",
                    f"{where}:{line}",
                    f"{key} a second time",
                    "each key once",
                    f"the first in line {first} has no effect",
                )
        except yaml.YAMLError as error:
            yield Problem(HOST, "file_yaml", where, " ".join(str(error).split()), "YAML")
