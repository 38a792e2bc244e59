# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A role that is added is found by all who need to know of it, and what roles declare is what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.cloudbang.platform.plugins.lookup import declared
from ansible_collections.cloudbang.platform.plugins.module_utils import declarations

MADE_UP = """
groups: [storage]
when: {made_up_enabled: true}
images:
  - {artifact: image-made-up, repository: made-up}
ports:
  - {number: 7777, variable: made_up_port, program: made-up, unit: made-up.service, users: [compute]}
packages: [made_up_packages]
package_units: [made-up-helper.service]
protected:
  - {id: made-up, path: /etc/made-up/key}
confined:
  - {unit: made-up, reads: [/etc/made-up/*]}
shared: [made_up_zone]
"""
DEFAULTS = """
made_up_enabled: true
made_up_port: 7777
made_up_packages: [made-up-tools]
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


def lookup(*terms: str, **variables: Any) -> list[Any]:
    return declared.LookupModule(templar=Templar(DataLoader(), variables=variables)).run(list(terms), variables)


def test_the_registry_has_its_image(made_up: Path) -> None:
    image = {"artifact": "image-made-up", "repository": "made-up", "tag": "current"}
    assert image in lookup("images")
    assert image not in lookup("images", made_up_enabled=False)


def test_the_registry_has_the_images_of_the_network_that_is_chosen() -> None:
    found = {
        network: {one["repository"] for one in lookup("images", cloudbang_network=network)}
        for network in ("calico", "goodnet")
    }
    assert found["goodnet"] == {"pause", "coredns", "metrics-server"}
    assert found["calico"] == found["goodnet"] | {"calico-kube-controllers"}
    assert {"artifact": "image-pause", "repository": "pause", "tag": "1"} in lookup("images")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port: 80", "platform.yml: found port, wanted some of name, groups"),
        ("ports: [{number: 80, unit: x, listen: node}]", "found listen, wanted some of number"),
        ("ports: [{number: 80, unit: x, listens: outside}]", "listens: found 'outside', wanted one of node"),
        ("images: [{artifact: x}]", "platform.yml: .*repository"),
    ],
)
def test_a_declaration_that_is_wrong_says_where(made_up: Path, text: str, message: str) -> None:
    (made_up / "meta/platform.yml").write_text(text)
    with pytest.raises(declarations.DeclarationError, match=message):
        declarations.roles(declared.load)


def plays() -> list[dict[str, Any]]:
    path = Path(__file__).resolve().parents[3] / "playbooks/site.yml"
    return [play for play in yaml.safe_load(path.read_text("utf-8")) if "roles" in play or "tasks" in play]


def test_roles_declare_the_groups_that_site_runs_them_on() -> None:
    wanted: dict[str, set[str]] = {}
    for play in plays():
        hosts = {"etcd"} if "'etcd'" in play["hosts"] else set(play["hosts"].split(":"))
        included = [task.get("ansible.builtin.include_role", {}) for task in play.get("tasks", [])]
        names = [role["role"] for role in play.get("roles", [])]
        names += [one["name"] for one in included if one and "tasks_from" not in one]
        for name in names:
            wanted.setdefault(name.rpartition(".")[2], set()).update(hosts)
    found = {role.name: set(role.groups) for role in declarations.roles(declared.load) if role.groups}
    assert found == {name: groups for name, groups in wanted.items() if name not in ("artifacts", "pki", "cluster")}
