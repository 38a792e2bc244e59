# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that never leave their host, and the certificates beside them, which the controller signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic
from ansible_collections.cloudbang.platform.plugins.module_utils.host import HostError
from ansible_collections.cloudbang.platform.plugins.module_utils.host.files import Files, owner_ids, read

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def pair(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries of the two files, key and certificate, of an entry with a certificate."""
    key, certificate = (
        {**entry, "path": entry["path"] + suffix, "mode": mode, "state": "file", "certificate": None}
        for suffix, mode in ((".key", "0600"), (".crt", "0644"))
    )
    return key, certificate


def public_key(module: AnsibleModule, path: str) -> str | None:
    """Return the public half of a private key as PEM, None when there is no key or it is damaged.

    A link is none: its target would be given away with it.
    """
    private = read(path)
    if not private:
        # Without data openssl would read the standard input of the module, which may be a terminal.
        return None
    command = ["openssl", "pkey", "-pubout", "-passin", "pass:"]
    code, out, _err = module.run_command(command, data=private, binary_data=True)
    return None if code else str(out)


def new_key(module: AnsibleModule) -> str:
    """Return a new EC P-256 key as PEM."""
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    code, out, err = module.run_command(command)
    if code:
        raise HostError(f"`{' '.join(command)}` failed: {err.strip()}; install openssl and run again")
    return str(out)


class Certificates:
    """Creates the keys of certificates, and compares the certificates' files."""

    def __init__(self, module: AnsibleModule, keys: Files, files: Files) -> None:
        self.module = module
        self.keys = keys
        self.files = files

    def find(self, key: dict[str, Any], certificate: dict[str, Any]) -> dict[str, str | None]:
        """Create the key if it is missing or damaged, except in check mode; set its owner and mode.

        Returns `public_key` and `certificate` as PEM, each None when the host has none, for the controller to decide
        whether it signs another one.
        """
        public = public_key(self.module, key["path"])
        if public:
            self.keys.attributes(key)
        elif self.keys.change(key["path"]):
            self.keys.parents(key["path"])
            atomic.write(key["path"], new_key(self.module), ids=owner_ids(key, False))
            public = public_key(self.module, key["path"])
            if public is None:
                raise HostError(f"{key['path']}: openssl cannot read the key that it made; run it by hand to see why")
        content = read(certificate["path"])
        if content is not None:
            self.files.attributes(certificate)
        text = None if content is None else content.decode("utf-8", errors="replace")
        return {"public_key": public, "certificate": text}
