# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of M(cloudbang.platform.lab_seed): all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic


class ActionModule(ActionBase):
    """Creates the identities of lab nodes and the SSH key of their user."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            argument_spec={
                "path": {"type": "path", "required": True},
                "lab": {"type": "str", "required": True},
                "nodes": {
                    "type": "list",
                    "elements": "dict",
                    "required": True,
                    "options": {
                        "name": {"type": "str", "required": True},
                        "address": {"type": "str", "required": True},
                    },
                },
            }
        )
        try:
            seeder = Seeder(Path(arguments["path"]), arguments["lab"], dry=self._task.check_mode)
            result["digests"] = seeder.seed(arguments["nodes"])
        except OSError as error:
            raise AnsibleActionFail(f"lab_seed: {arguments['path']}: {error}") from error
        result["changed"] = seeder.changed
        return result


class Seeder:
    """Creates missing files below one directory and keeps existing ones.

    Layout: ``id_ed25519`` and ``id_ed25519.pub`` (the user), ``known_hosts`` (every node's key under its address and
    name), ``nodes/<name>/`` with ``ssh_host_ed25519_key``, its ``.pub``, ``authorized_keys`` and ``machine-id``.
    """

    def __init__(self, directory: Path, lab: str, *, dry: bool = False) -> None:
        self._directory = directory
        self._lab = lab
        self._dry = dry
        self.changed = False

    def seed(self, nodes: list[Mapping[str, Any]]) -> dict[str, str]:
        """Return ``{node: digest of what the node takes from its directory at boot}``."""
        user = self._key(self._directory / "id_ed25519", f"cloudbang-{self._lab}")
        digests, known = {}, []
        for node in nodes:
            name, address = node["name"], node["address"]
            place = self._directory / "nodes" / name
            public = self._key(place / "ssh_host_ed25519_key", name)
            machine = hashlib.sha256(f"{self._lab}/{name}".encode()).hexdigest()[:32] + "\n"
            self._write(place / "authorized_keys", user + "\n", 0o600)
            self._write(place / "machine-id", machine, 0o644)
            known.append(f"{address},{name} {' '.join(public.split()[:2])}\n")
            digests[name] = hashlib.sha256(f"{user}\n{public}\n{machine}".encode()).hexdigest()[:16]
        self._write(self._directory / "known_hosts", "".join(known), 0o644)
        return digests

    def _key(self, path: Path, comment: str) -> str:
        """Return the public key line of the private key at ``path``, which is made when there is no usable one."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519

        key: Any = None
        try:
            key = serialization.load_ssh_private_key(path.read_bytes(), None)
        except (FileNotFoundError, ValueError):
            key = ed25519.Ed25519PrivateKey.generate()
            private = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            self._write(path, private.decode(), 0o600)
        if path.exists() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        line = f"{public.decode()} {comment}"
        self._write(path.with_name(path.name + ".pub"), line + "\n", 0o644)
        return line

    def _write(self, path: Path, text: str, mode: int) -> None:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        self.changed = True
        if self._dry:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, text, mode)
