# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the roles that bear secrets, with all that Ansible can show: nothing of a secret is left anywhere."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
TEMPLATES = [
    "registry/templates/docker-config.json.j2",
    "container_runtime/templates/hosts.toml.j2",
    "kube_control_plane/templates/encryption.yaml.j2",
]
# A host that is this machine, but keeps what a host keeps in a mount namespace of its own.
HOST = ["unshare", "--map-root-user", "--mount", "sh", "-euc", 'mount -t tmpfs tmpfs /var/lib; exec "$@"', "sh"]
COPIES = ["kubernetes-ca.key", "service-account.key", "registry-push.password", "cloudbang.htpasswd", "node.htpasswd"]


def play(place: Path) -> list[dict[str, Any]]:
    """Return a play that makes the secrets of a cluster and writes those that hosts get, as the roles do."""
    tasks = yaml.safe_load((ROLES / "pki/tasks/main.yml").read_text("utf-8"))
    certificate = {"authority": "kubernetes-ca", "common_name": "cloudbang-admin"}
    files: list[dict[str, Any]] = [{"path": f"{place}/pki/admin", "certificate": certificate}]
    files += [
        {"path": f"{place}/host/{Path(one).stem}", "template": str(ROLES / one), "mode": "0600"} for one in TEMPLATES
    ]
    files += [{"path": f"{place}/host/{one}", "src": f"{place}/pki/{one}", "mode": "0600"} for one in COPIES]
    kubeconfig = {"user": "admin", "certificate": f"{place}/pki/admin", "embed": True}
    kubeconfig["authority"] = f"{place}/pki/kubernetes-ca.crt"
    files.append({"path": f"{place}/host/admin.conf", "kubeconfig": kubeconfig})
    files.append({"path": f"{place}/host/open", "src": f"{place}/pki/registry-pull.password", "secret": True})
    tasks.append({"name": "Write", "cloudbang.platform.converge": {"files": files}})
    variables = {"pki_dir": f"{place}/pki", "cloudbang_pki_dir": f"{place}/pki"}
    return [
        {
            "name": "Secrets",
            "hosts": "management",
            "gather_facts": False,
            "vars": variables,
            "roles": ["cloudbang.platform.cluster"],
            "tasks": tasks,
        }
    ]


def secrets(pki: Path) -> set[str]:
    """Return a line of each secret, as it is and in the forms in which files on hosts have it."""
    found = {(pki / "encryption.key").read_text().strip()}
    for user, name in (("cloudbang", "registry-push"), ("node", "registry-pull")):
        password = (pki / f"{name}.password").read_text().strip()
        found |= {password, base64.b64encode(f"{user}:{password}".encode()).decode()}
        found |= set((pki / f"{user}.htpasswd").read_text().split())
    for path in pki.glob("*.key"):
        if "PRIVATE KEY" in path.read_text():
            found |= {path.read_text().splitlines()[1], base64.b64encode(path.read_bytes()).decode()[60:120]}
    return found


def run(place: Path, number: int, *arguments: str) -> set[str]:
    """Run the play with everything shown; return the command lines that were seen meanwhile."""
    environment = {"ANSIBLE_HOME": "home", "ANSIBLE_LOCAL_TEMP": "tmp", "ANSIBLE_REMOTE_TMP": "tmp", "TMPDIR": "home"}
    environment = {name: str(place / value) for name, value in environment.items()}
    environment["ANSIBLE_LOG_PATH"] = str(place / "log")
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        str(place / "hosts.yml"),
        "-vvvv",
        "--diff",
    ]
    seen: set[str] = set()
    with (place / f"output{number}").open("wb") as output:
        process = subprocess.Popen(
            [*HOST, *command, *arguments, str(place / "play.yml")],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )
        while process.poll() is None:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(path.read_text(errors="replace"))
            time.sleep(0.02)
    assert process.returncode == 0, (place / f"output{number}").read_text()[-4000:]
    return seen


def test_no_secret_is_shown_or_left(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play(tmp_path)))
    host = {"ansible_connection": "local", "ansible_host": "127.0.0.1", "ansible_python_interpreter": sys.executable}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"management": {"hosts": {"one": host}}}))
    lines = run(tmp_path, 1)
    written = sorted((tmp_path / "host").iterdir())
    assert len(written) == len(TEMPLATES) + len(COPIES) + 2
    for number, arguments in enumerate((("--check",), ()), 2):
        for path in written:
            path.write_bytes(path.read_bytes() + b"\n")
        lines |= run(tmp_path, number, *arguments)
        shown = (tmp_path / f"output{number}").read_text()
        assert all(str(path) in shown for path in written)
        assert "(another secret)" in shown
    patterns = secrets(tmp_path / "pki")
    assert len(patterns) >= 18
    places = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name not in ("pki", "host")]
    assert tmp_path / "log" in places
    assert [(path, one) for path in places for one in patterns if one.encode() in path.read_bytes()] == []
    assert [line for line in lines for one in patterns if one in line] == []
