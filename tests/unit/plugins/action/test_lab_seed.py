# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and machine IDs of lab nodes: made once, kept, repaired, never shared."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.cloudbang.platform.plugins.action.lab_seed import Seeder

NODES = [{"name": "one", "address": "10.0.0.1"}, {"name": "two", "address": "10.0.0.2"}]


def test_second_time_changes_nothing(tmp_path: Path) -> None:
    first = Seeder(tmp_path, "lab")
    digests = first.seed(NODES)
    second = Seeder(tmp_path, "lab")
    assert second.seed(NODES) == digests
    assert (first.changed, second.changed) == (True, False)


def test_nodes_have_identities_of_their_own(tmp_path: Path) -> None:
    Seeder(tmp_path, "lab").seed(NODES)
    machines = {(tmp_path / "nodes" / node["name"] / "machine-id").read_text() for node in NODES}
    assert len(machines) == 2
    assert all(len(machine.strip()) == 32 for machine in machines)
    known = (tmp_path / "known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in known] == ["10.0.0.1,one", "10.0.0.2,two"]
    assert len({line.split()[2] for line in known}) == 2


def test_private_keys_are_private(tmp_path: Path) -> None:
    Seeder(tmp_path, "lab").seed(NODES)
    (tmp_path / "id_ed25519").chmod(0o644)
    Seeder(tmp_path, "lab").seed(NODES)
    for path in (tmp_path / "id_ed25519", tmp_path / "nodes/one/ssh_host_ed25519_key"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_damaged_key_is_made_again(tmp_path: Path) -> None:
    before = Seeder(tmp_path, "lab").seed(NODES)
    (tmp_path / "nodes/one/ssh_host_ed25519_key").write_text("")
    after = Seeder(tmp_path, "lab").seed(NODES)
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    seeder = Seeder(tmp_path / "lab", "lab", dry=True)
    seeder.seed(NODES)
    assert seeder.changed
    assert not (tmp_path / "lab").exists()
