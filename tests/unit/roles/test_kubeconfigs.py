# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Administrators' kubeconfigs of several clusters, used together: of two users with one name the first is taken."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

TEMPLATES = Path(__file__).resolve().parents[3] / "roles/kube_control_plane/templates"


def rendered(template: str, cluster: str) -> dict[str, Any]:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined)
    environment.filters["b64encode"] = lambda text: base64.b64encode(text.encode()).decode()
    text = environment.get_template(template).render(
        cloudbang_cluster_name=cluster,
        cloudbang_api_url="https://192.0.2.100:6443",
        cloudbang_pki_dir="/pki",
        _kube_control_plane_pki="/etc/kubernetes/pki",
        lookup=lambda *_words, **_options: "PEM",
    )
    return dict(yaml.safe_load(text))


@pytest.mark.parametrize("template", ["admin.conf.j2", "super-admin.conf.j2"])
def test_names_are_unique_by_cluster(template: str) -> None:
    one, two = rendered(template, "one"), rendered(template, "two")
    for part in ("clusters", "contexts", "users"):
        assert one[part][0]["name"] != two[part][0]["name"]
    context = one["contexts"][0]
    assert one["current-context"] == context["name"]
    assert context["context"] == {"cluster": one["clusters"][0]["name"], "user": one["users"][0]["name"]}
    assert one["clusters"][0]["name"] == "one" and one["users"][0]["name"].endswith("-admin@one")
