# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory files that Ansible reads, but not as they were meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.checks_sources import inventory_files

from .good import good

ROWS = [
    (56, b"all:\n  vars:\n    a: 1\n    a: 2\n", "file_duplicate_key", "a a second time"),
    (57, b"all:\r\n  hosts:\r\n    one:\r\n", "file_crlf", "CRLF"),
    (58, b"all:\n  vars:\n    name: M\xfcller\n", "file_encoding", "line 3"),
    (58, b"all: [\n", "file_yaml", "expected"),
]


@pytest.mark.parametrize(("number", "data", "check", "found"), ROWS)
@pytest.mark.parametrize("name", ["hosts.yml", "group_vars/all.yml", "host_vars/one"])
def test_one_fault_is_named(tmp_path: Path, number: int, data: bytes, check: str, found: str, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "hosts.yml").write_text("all:\n  hosts:\n    one:\n", encoding="utf-8")
    path.write_bytes(data)
    inventory = good()
    inventory.sources = (str(tmp_path / "hosts.yml"),)
    inventory.hosts += ("one",)
    (finding,) = inventory_files(inventory)
    assert (finding.host, finding.check) == ("inventory", check)
    assert str(path) in finding.variable
    assert found in finding.found


def test_merge_keys_and_vault_tags_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    text = "all:\n  vars:\n    a: &a {x: 1}\n    b: {<<: *a, y: 2}\n    c: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n"
    path.write_text(text, encoding="utf-8")
    inventory = good()
    inventory.sources = (str(tmp_path),)
    assert list(inventory_files(inventory)) == []


@pytest.mark.parametrize("as_directory", [True, False], ids=["directory", "file"])
@pytest.mark.parametrize(
    "name",
    [
        "group_vars/README.txt",
        "group_vars/README",
        "group_vars/notes.rst",
        "group_vars/all.yml.20240101",
        "group_vars/all.yml~",
        "group_vars/all.bak",
        "group_vars/elsewhere.yml",
        "group_vars/all/logo.png",
        "group_vars/all/.vault.yml.swp",
        "host_vars/.gitkeep",
        "host_vars/management9.yml",
        "files/logo.png",
        "hosts.yml.orig",
        "notes.md",
        "vars_plugins/mine.yml",
    ],
)
def test_what_ansible_does_not_read_may_be_anything(tmp_path: Path, name: str, as_directory: bool) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "hosts.yml").write_text("all:\n  hosts:\n    one:\n", encoding="utf-8")
    path.write_bytes(b"\x89PNG\r\nNotes: ask ops: do not edit\nx: [\n")
    inventory = good()
    inventory.sources = (str(tmp_path if as_directory else tmp_path / "hosts.yml"),)
    assert list(inventory_files(inventory)) == []


@pytest.mark.parametrize(
    "name",
    [
        "hosts.yml",
        "hosts.json",
        "production/hosts.yaml",
        "group_vars/all",
        "group_vars/management.json",
        "group_vars/all/deep/more",
        "host_vars/storage1/main.yaml",
    ],
)
def test_what_ansible_reads_in_a_directory_is_judged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("all: [\n", encoding="utf-8")
    inventory = good()
    inventory.sources = (str(tmp_path),)
    assert [(one.check, one.variable) for one in inventory_files(inventory)] == [("file_yaml", str(path))]


def test_settings_of_ansible_choose_the_files(tmp_path: Path) -> None:
    for name in ("hosts.yml", "hosts.old", "hosts.yamlish"):
        (tmp_path / name).write_text("all: [\n", encoding="utf-8")
    inventory = good()
    inventory.sources = (str(tmp_path),)
    inventory.yaml_endings, inventory.ignored_patterns = (".yml", ".yamlish", ".old"), ("^hosts.yml$",)
    inventory.ignored_endings = (".old",)
    assert [one.variable for one in inventory_files(inventory)] == [str(tmp_path / "hosts.yamlish")]
