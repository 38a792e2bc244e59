# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubeconfigs: what they hold, what is refused, and those that the roles ask for."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils.kubeconfig import (
    OPTIONS,
    REQUIRED,
    KubeconfigError,
    kubeconfig,
)

ROLES = Path(__file__).resolve().parents[4] / "roles"
GIVEN = {"user": "gateway", "certificate": "/etc/traefik/client", "authority": "/etc/traefik/ca.crt"}
URL = "https://192.0.2.100:6443"


class Marked(str):
    """As AnsibleUnsafeText of ansible-core 2.17 and 2.18."""

    def __str__(self) -> str:  # pylint: disable=invalid-str-returned
        return self


def found(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the options of every kubeconfig in what a YAML file holds."""
    if isinstance(part, dict):
        if isinstance(part.get("kubeconfig"), dict):
            yield part["kubeconfig"]
        for value in part.values():
            yield from found(value)
    elif isinstance(part, list):
        for value in part:
            yield from found(value)


def asked_for() -> list[dict[str, Any]]:
    files = [*ROLES.glob("*/tasks/*.yml"), *ROLES.glob("*/vars/*.yml")]
    return [one for path in files for one in found(yaml.safe_load(path.read_text("utf-8")))]


def test_a_kubeconfig_names_files_of_the_host() -> None:
    config = yaml.safe_load(kubeconfig("one", URL, GIVEN))
    assert config["clusters"] == [
        {"name": "one", "cluster": {"server": URL, "certificate-authority": "/etc/traefik/ca.crt"}}
    ]
    keys = {"client-certificate": "/etc/traefik/client.crt", "client-key": "/etc/traefik/client.key"}
    assert config["users"] == [{"name": "gateway", "user": keys}]
    assert config["contexts"] == [{"name": "default", "context": {"cluster": "one", "user": "gateway"}}]
    assert config["current-context"] == "default"


def test_a_name_from_a_lookup_is_a_name() -> None:
    """Ansible marks such strings by a class of its own, which YAML does not know."""
    given = {key: Marked(value) for key, value in GIVEN.items()}
    assert kubeconfig(Marked("one"), Marked(URL), given) == kubeconfig("one", URL, GIVEN)


def test_a_kubeconfig_has_what_files_hold(tmp_path: Path) -> None:
    for name in ("admin.crt", "admin.key", "ca.crt"):
        (tmp_path / name).write_text(f"{name}\n" * 99, encoding="utf-8")
    given = {"user": "a", "certificate": f"{tmp_path}/admin", "authority": f"{tmp_path}/ca.crt", "embed": True}
    config = yaml.safe_load(kubeconfig("one", URL, given))
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
    assert base64.b64decode(user["client-certificate-data"]) == b"admin.crt\n" * 99
    assert base64.b64decode(user["client-key-data"]) == b"admin.key\n" * 99
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"ca.crt\n" * 99
    (tmp_path / "admin.key").unlink()
    with pytest.raises(FileNotFoundError, match=r"admin\.key"):
        kubeconfig("one", URL, given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "a", "certificate": "/c"}, "found no authority"),
        ({**GIVEN, "token": "secret"}, r"found \['token'\]"),
        ({**GIVEN, "embed": "yes"}, "embed: found 'yes', wanted true or false"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KubeconfigError, match=message):
        kubeconfig("one", URL, options)


def test_what_roles_ask_for_is_accepted() -> None:
    wanted = asked_for()
    assert {str(one["user"]).partition("@")[0] for one in wanted} >= {"gateway", "goodnet", "system:kube-proxy"}
    assert all(REQUIRED <= set(one) <= OPTIONS for one in wanted)


def test_administrators_can_merge_kubeconfigs_of_several_clusters() -> None:
    """Of two users or contexts with one name kubectl takes the first."""
    administrators = [one for one in asked_for() if "admin" in str(one["user"])]
    assert len(administrators) == 2
    for one in administrators:
        assert "{{ cloudbang_cluster_name }}" in one["user"] and "{{ cloudbang_cluster_name }}" in one["context"]
