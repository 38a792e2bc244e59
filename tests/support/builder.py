# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates of what builds need, as Ansible renders them for a small cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"
HOSTS = {
    "management": {"m1": "192.0.2.11"},
    "compute": {"c1": "192.0.2.21"},
    "loadbalancer": {"l1": "192.0.2.31"},
    "storage": {"s1": "192.0.2.41", "s2": "192.0.2.42"},
}
FACTS = {
    "cloudbang_cgroup_v2": True,
    "cloudbang_interface": "eth0",
    "cloudbang_openvswitch": True,
    "cloudbang_prefix": 24,
}
REPOSITORY = "registry.cloudbang.internal:5000/cloudbang/builder"
IMAGE = f"{REPOSITORY}@sha256:{'1' * 64}"


def texts(
    place: Path, role: str, template: str, hosts: str, tasks: list[dict[str, Any]], variables: dict[str, Any]
) -> dict[str, str]:
    """Return a template of a role for some of HOSTS, by host, after some tasks. place: a directory of its own."""
    groups = {
        group: {"hosts": {name: {"ansible_host": address} for name, address in members.items()}}
        for group, members in HOSTS.items()
    }
    own = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "cloudbang_api_vip": "192.0.2.100",
        "cloudbang_cluster_name": "unit",
        "cloudbang_pki_dir": str(place / "pki"),
    }
    (place / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups, "vars": own}}))
    (place / "given.yml").write_text(yaml.safe_dump({"role_path": str(ROLES / role), **variables}))
    results = place / "results"
    render = {
        "src": str(ROLES / role / "templates" / template),
        "dest": f"{results}/{{{{ inventory_hostname }}}}",
        "mode": "0600",
    }
    results.mkdir()
    play = {
        "name": "Render",
        "hosts": hosts,
        "gather_facts": False,
        "roles": ["cloudbang.platform.cluster"],
        "vars": {"ansible_facts": FACTS},
        "vars_files": [str(ROLES / role / part / "main.yml") for part in ("defaults", "vars")],
        "tasks": [*tasks, {"name": "Render", "ansible.builtin.template": render}],
    }
    (place / "play.yml").write_text(yaml.safe_dump([play]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(place / "hosts.yml")]
    done = subprocess.run(
        [*command, "--extra-vars", f"@{place / 'given.yml'}", str(place / "play.yml")],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_HOME": str(place / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_text("utf-8") for path in results.iterdir()}


def rendered(place: Path, **variables: Any) -> list[dict[str, Any]]:
    """Return the objects for a cluster of HOSTS, whose authorities are in the directory `pki` of a place.

    They have no base images, which would have to be built.
    """
    pki = yaml.safe_load((ROLES / "pki/tasks/main.yml").read_text("utf-8"))
    given = {
        "_builder_image": IMAGE,
        "builder_languages": [],
        "cloudbang_builder_enabled": True,
        "pki_dir": str(place / "pki"),
        **variables,
    }
    text = texts(place, "builder", "builder.yaml.j2", "m1", pki, given)["m1"]
    return [one for one in yaml.safe_load_all(text) if one]
