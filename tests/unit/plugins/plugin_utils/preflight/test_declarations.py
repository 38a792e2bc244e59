# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role that is added is found by all who need to know of it, and what roles declare is what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from support.plays import roles_of, site, tasks_with_roles

from ansible_collections.cloudbang.platform.plugins.action import converge
from ansible_collections.cloudbang.platform.plugins.action.preflight import plan
from ansible_collections.cloudbang.platform.plugins.lookup import declared
from ansible_collections.cloudbang.platform.plugins.plugin_utils import declarations
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight import options
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.inventory import Inventory
from ansible_collections.cloudbang.platform.plugins.plugin_utils.preflight.run import evaluate

from .good import good

MADE_UP = """
groups: [storage]
when: {made_up_enabled: true}
images:
  - {artifact: image-made-up, repository: made-up}
  - {artifact: image-made-up-go, repository: made-up/go, when: {made_up_languages: go}}
ports:
  - {number: 7777, variable: made_up_port, program: made-up, unit: made-up.service, users: [compute]}
packages:
  - {variable: made_up_packages}
  - {variable: made_up_extras, groups: [compute], when: {made_up_languages: go}}
package_units: [made-up-helper.service]
protected:
  - {id: made-up, path: /etc/made-up/key}
confined:
  - {unit: made-up, reads: [/etc/made-up/*]}
shared: [made_up_zone]
reset:
  tables: [made-up]
  steps:
    - {name: made-up, needed: [made-up, there], commands: [[made-up, remove]]}
"""
DEFAULTS = """
made_up_enabled: true
made_up_port: 7777
made_up_packages: [made-up-tools]
made_up_extras: [made-up-extra]
made_up_languages: [python]
made_up_zone: north
"""


@pytest.fixture()
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Add a role to those of the collection; return its directory."""
    for role in declarations.ROLES.iterdir():
        (tmp_path / role.name).symlink_to(role)
    role = tmp_path / "made_up"
    for path, text in (("meta/platform.yml", MADE_UP), ("defaults/main.yml", DEFAULTS), ("tasks/main.yml", "[]")):
        (role / path).parent.mkdir(parents=True, exist_ok=True)
        (role / path).write_text(text)
    monkeypatch.setattr(declarations, "ROLES", tmp_path)
    return role


@pytest.fixture()
def inventory(made_up: Path) -> Inventory:
    """Return one with which nothing is wrong."""
    found = good()
    found.declared = declarations.roles(declared.load)
    found.options, found.roles = options.options(declared.load), options.role_names()
    for settings in found.settings.values():
        settings.update(yaml.safe_load(DEFAULTS))
    assert evaluate(found) == []
    return found


def findings(inventory: Inventory) -> set[tuple[str, str, str]]:
    return {(one.host, one.check, one.variable) for one in evaluate(inventory)}


def lookup(*terms: str, role: str | None = None, **variables: Any) -> list[Any]:
    found = declared.LookupModule(templar=Templar(DataLoader(), variables=variables))
    return found.run(list(terms), variables, **({"role": role} if role else {}))


def test_the_registry_has_its_image(made_up: Path) -> None:
    image = {"artifact": "image-made-up", "repository": "made-up", "tag": "current"}
    assert image in lookup("images")
    assert image not in lookup("images", made_up_enabled=False)
    # As `-e made_up_enabled=true` has it.
    assert image in lookup("images", made_up_enabled="true") and image not in lookup("images", made_up_enabled="no")


def test_the_registry_has_an_image_when_a_list_has_its_word(made_up: Path) -> None:
    def found(*languages: str) -> bool:
        return "made-up/go" in {one["repository"] for one in lookup("images", made_up_languages=list(languages))}

    assert [found("python"), found("python", "go"), found()] == [False, True, False]


def test_the_registry_has_the_images_of_the_network_that_is_chosen() -> None:
    found = {
        network: {one["repository"] for one in lookup("images", cloudbang_network=network)}
        for network in ("calico", "goodnet")
    }
    assert found["goodnet"] == {"pause", "coredns", "metrics-server"}
    assert found["calico"] == found["goodnet"] | {"calico-kube-controllers"}
    assert {"artifact": "image-pause", "repository": "pause", "tag": "1"} in lookup("images")


def test_preflight_plans_to_look_at_it(inventory: Inventory) -> None:
    found = plan(inventory)
    assert found["units"]["made-up.service"] == ""
    assert {"docker.service", "k3s.service"} <= set(found["others"])
    assert ["storage1", "10.92.0.41", 7777, "tcp"] in found["ways"]["compute"]
    assert "made-up-tools" in found["hosts"]["storage1"]["packages"]
    assert "made-up-tools" not in found["hosts"]["compute1"]["packages"]
    assert "made-up-extra" not in found["hosts"]["compute1"]["packages"]
    for settings in inventory.settings.values():
        settings["made_up_languages"] = ["go"]
    found = plan(inventory)
    assert "made-up-extra" in found["hosts"]["compute1"]["packages"]
    assert "made-up-extra" not in found["hosts"]["storage1"]["packages"]


def test_preflight_finds_its_port_taken(inventory: Inventory) -> None:
    other = {"protocol": "tcp", "address": "10.92.0.41", "port": 7777, "process": "other"}
    inventory.facts["storage1"]["listeners"].append(other)
    assert findings(inventory) == {("storage1", "port_used", "made_up_port")}


def test_preflight_finds_its_package_missing(inventory: Inventory) -> None:
    inventory.facts["storage1"]["packages_unknown"] = ["made-up-tools"]
    assert findings(inventory) == {("storage1", "package", "made_up_packages")}


def test_preflight_finds_its_shared_variable_different(inventory: Inventory) -> None:
    inventory.settings["storage1"]["made_up_zone"] = inventory.variables["storage1"]["made_up_zone"] = "south"
    assert findings(inventory) == {("storage1", "differs", "made_up_zone")}


def test_preflight_finds_it_on_hosts_of_other_groups(inventory: Inventory) -> None:
    inventory.facts["compute1"]["units"] = ["made-up.service"]
    inventory.variables["compute1"]["made_up_port"] = inventory.settings["compute1"]["made_up_port"] = 7778
    assert findings(inventory) == {
        ("compute1", "service_left", "made-up.service"),
        ("compute1", "wrong_group", "made_up_port"),
    }


def test_preflight_asks_nothing_for_a_role_that_is_no_part_of_the_cluster(inventory: Inventory) -> None:
    for settings in inventory.settings.values():
        settings["made_up_enabled"] = False
    found = plan(inventory)
    assert "made-up-tools" not in found["hosts"]["storage1"]["packages"] and "compute" not in found["ways"]


def test_the_lab_has_its_packages(made_up: Path) -> None:
    assert {"made-up-tools", "made-up-extra"} <= set(lookup("packages"))
    assert "made-up-helper.service" in lookup("package_units")
    recipe = (declarations.ROLES / "lab/vars/main.yml").read_text("utf-8")
    assert "declared', 'packages')" in recipe and "declared', 'package_units')" in recipe


def test_the_hardening_tests_look_at_its_files_ports_and_service(made_up: Path) -> None:
    defaults = options.defaults(declared.load)
    found = declarations.chosen(declarations.roles(declared.load), defaults.get)
    assert declarations.Protected("made-up", "/etc/made-up/key", groups=("storage",)) in {
        one for role in found for one in role.protected
    }
    assert 7777 in declarations.open_ports(found, defaults.get)["storage"]
    assert "made-up" in {one.unit for role in found for one in role.confined}


def test_a_reset_removes_what_it_leaves(made_up: Path) -> None:
    step = {"name": "made-up", "needed": ["made-up", "there"], "commands": [["made-up", "remove"]]}
    assert lookup("reset", role="made_up") == [{"tables": ["made-up"], "steps": [step]}]
    assert lookup("reset", role="made_up")[0] in lookup("reset", made_up_enabled=False)


def test_roles_leave_what_they_declare_for_a_reset_on_the_host() -> None:
    for role in declarations.roles(declared.load):
        texts = [path.read_text("utf-8") for path in (declarations.ROLES / role.name).glob("[tv]a*/*.yml")]
        wanted = f"query('cloudbang.platform.declared', 'reset', role='{role.name}')"
        left = [text for text in texts if f"path: /etc/cloudbang/reset.d/{role.name}\n" in text and wanted in text]
        assert len(left) == (role.reset is not None), role.name


def test_what_is_left_on_the_host_is_json() -> None:
    content = converge.text_of(lookup("reset", role="calico")[0]).encode()
    assert json.loads(content) == lookup("reset", role="calico")[0] and content.endswith(b"\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: 80", "platform.yml: found port, wanted some of name, groups"),
        ("ports: [{number: 80, unit: x, listen: node}]", "found listen, wanted some of number"),
        ("ports: [{number: 80, unit: x, listens: outside}]", "listens: found 'outside', wanted one of node"),
        ("reset: {table: [x]}", "found table, wanted some of stop, steps"),
        ("packages: [{name: x}]", "platform.yml: found name, wanted some of variable, groups, when"),
        ("images: [{artifact: x}]", "platform.yml: .*repository"),
    ],
)
def test_a_declaration_that_is_wrong_says_where(made_up: Path, text: str, message: str) -> None:
    (made_up / "meta/platform.yml").write_text(text)
    with pytest.raises(declarations.DeclarationError, match=message):
        declarations.roles(declared.load)


def test_roles_declare_the_groups_that_site_runs_them_on() -> None:
    wanted: dict[str, set[str]] = {}
    for play in site():
        hosts = {"etcd"} if "'etcd'" in play.get("hosts", "") else set(play.get("hosts", "").split(":"))
        for name in roles_of(play):
            wanted.setdefault(name, set()).update(hosts)
    found = {role.name: set(role.groups) for role in declarations.roles(declared.load) if role.groups}
    assert found == {name: groups for name, groups in wanted.items() if name not in ("artifacts", "pki", "cluster")}


def test_site_leaves_validation_to_preflight() -> None:
    """Each role would validate its arguments on each host: a quarter of all that a second run does."""
    # The only other form of running roles always validates them. `cluster` has nothing that would be.
    assert [role["role"] for play in site() for role in play.get("roles", [])] == ["cloudbang.platform.cluster"]
    run = [options for play in site() for options in tasks_with_roles(play.get("tasks", []))]
    assert len(run) > 10
    assert [options for options in run if options.get("rolespec_validate", True)] == []
