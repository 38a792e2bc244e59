# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action, the role and the bundle playbook as Ansible runs them, against a mirror directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, mirror, names, plan

COLLECTIONS = next(path for path in sys.path if path.endswith("build/collections"))
ANSIBLE_PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
NAMES = ["kubelet", "etcd"]


@pytest.fixture
def site_mirror(tmp_path: Path) -> Path:
    """A mirror that has small files under the names of the shipped catalogue."""
    planned = plan(NAMES, Settings(source="build", cache_dir=str(tmp_path / "none")))
    files = []
    for item in planned.values():
        path = tmp_path / item.name
        path.write_bytes(b"program " + item.name.encode())
        digest = mirror.sha256_file(str(path))
        files.append({"name": item.name, "component": item.component, "version": item.version, "path": str(path)})
        files[-1].update(sha256=digest, size=path.stat().st_size, kind="executable", made="build")
    mirror.write_mirror(str(tmp_path / "mirror"), files, "amd64", lambda message: None)
    return tmp_path / "mirror"


def play(root: Path, tasks: list[dict[str, Any]], *arguments: str, variables: dict[str, Any] | None = None) -> Any:
    """Run tasks on localhost; returns the result of the last one, and what was printed."""
    path = root / "play.yml"
    path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    return run(root, str(path), *arguments, variables=variables)


def run(root: Path, playbook: str, *arguments: str, variables: dict[str, Any] | None = None) -> Any:
    command = [ANSIBLE_PLAYBOOK, playbook, *arguments]
    if variables:
        command += ["-e", json.dumps(variables)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(root), check=False, cwd=root)
    last, printed = answer(done.stdout)
    return last, printed + done.stderr


def environment(root: Path, **more: str) -> dict[str, str]:
    """Return an environment in which Ansible finds nothing of the user's, and prints JSON."""
    (root / "ansible.cfg").write_text("")
    return {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "true",
        "HOME": str(root),
        **more,
    }


def answer(output: str) -> tuple[dict[str, Any], str]:
    """Return the result of the last task of a run on localhost, and what was printed before."""
    printed, _brace, rest = output.partition("\n{\n") if not output.startswith("{") else ("", "", output)
    data = json.loads(rest if rest.startswith("{") else "{\n" + rest)
    last: dict[str, Any] = data["plays"][-1]["tasks"][-1]["hosts"]["localhost"]
    return last, printed


def task(root: Path, where: Path, **options: Any) -> list[dict[str, Any]]:
    values = {"names": NAMES, "source": "mirror", "mirror": str(where), "cache_dir": str(root / "cache"), **options}
    return [{"name": "Get", "cloudbang.platform.artifacts": values}]


def test_check_then_change_then_nothing(tmp_path: Path, site_mirror: Path) -> None:
    tasks = task(tmp_path, site_mirror)
    checked, _printed = play(tmp_path, tasks, "--check")
    assert (checked["changed"], checked["missing"]) == (True, NAMES)
    assert not (tmp_path / "cache").exists()
    first, printed = play(tmp_path, tasks)
    assert first["changed"]
    assert Path(first["artifacts"]["kubelet"]["path"]).read_bytes() == b"program kubelet"
    assert "artifacts: getting kubernetes" in printed
    second, printed = play(tmp_path, tasks)
    assert not second["changed"]
    assert "artifacts:" not in printed
    checked, _printed = play(tmp_path, tasks, "--check")
    assert (checked["changed"], checked["missing"]) == (False, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["kubelt"]}, "unknown kubelt (did you mean kubelet?)"),
        ({"names": ["kubectl"]}, "manifest.json: found no kubernetes/1.36.5/amd64/kubectl"),
        ({"mirror": "/nowhere"}, "/nowhere/manifest.json: found"),
        ({"source": "internet"}, "value of source must be one of: auto, upstream, mirror, build"),
        ({"versions": {"etcd": 3.6}}, "artifacts_versions[etcd]: found 3.6, which is no string"),
        ({"version": {"etcd": "3.6.5"}}, "Unsupported parameters"),
        ({"arch": "mips"}, "artifacts_arch: found 'mips'"),
    ],
)
def test_mistakes_are_one_message(tmp_path: Path, site_mirror: Path, options: dict[str, Any], message: str) -> None:
    failed, _printed = play(tmp_path, task(tmp_path, site_mirror, **options))
    assert failed["failed"]
    assert message in failed["msg"]


def test_the_bundle_playbook_writes_a_mirror_of_variables(tmp_path: Path, site_mirror: Path) -> None:
    variables = {
        "artifacts_names": NAMES,
        "artifacts_source": "mirror",
        "artifacts_mirror": str(site_mirror),
        "artifacts_cache_dir": "{{ artifacts_names | length }}/cache",
        "artifacts_bundle": str(tmp_path / "copy"),
    }
    for changed in (True, False):
        last, _printed = run(tmp_path, "cloudbang.platform.bundle", variables=variables)
        assert last["changed"] is changed
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == (site_mirror / "manifest.json").read_bytes()


def test_the_role_and_its_readme_know_the_same_variables() -> None:
    role = Path(COLLECTIONS, "ansible_collections/cloudbang/platform/roles/artifacts")
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    options = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert defaults == {name: option["default"] for name, option in options.items()}
    readme = (role / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in defaults)
    assert "kubelet" in names(Settings())
