#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys on the host that uses them, signed by an authority on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Issue and renew keys and certificates of a host
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Creates EC P-256 keys on the host, signs them on the controller with an authority of
    M(cloudbang.platform.authorities), and renews certificates that expire soon or no longer match the options. A key
    never leaves its host.
  - A host without changes takes one round trip.
options:
  authorities:
    description: Directory on the controller that holds the authorities.
    type: path
    required: true
  certificates:
    description: Certificates of the host.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path on the host without extension; C(.key) and C(.crt) are created there.
        type: path
        required: true
      authority:
        description: Name of the authority that signs the certificate.
        type: str
        required: true
      common_name:
        description: Common name, the user that Kubernetes sees.
        type: str
        required: true
      organizations:
        description: Organizations, the groups that Kubernetes sees.
        type: list
        elements: str
        default: []
      names:
        description: DNS names and addresses in the certificate.
        type: list
        elements: str
        default: []
      usages:
        description: Allowed uses of the certificate.
        type: list
        elements: str
        choices: [server, client]
        default: [client]
      days:
        description: Lifetime in days.
        type: int
        default: 365
      renew_before:
        description: Replace the certificate when it has fewer days left.
        type: int
        default: 30
      owner:
        description: Owner of key and certificate.
        type: str
        default: root
      group:
        description: Group of key and certificate.
        type: str
        default: root
attributes:
  check_mode:
    support: full
    description: Returns the certificates that would be issued.
  diff_mode:
    support: none
    description: Keys are never shown.
requirements:
  - openssl on the host
  - cryptography >= 42 on the controller
"""

EXAMPLES = r"""
- name: Issue the certificates of an etcd member
  cloudbang.platform.certificates:
    authorities: /root/.local/share/cloudbang/prod/pki
    certificates:
      - path: /etc/etcd/pki/server
        authority: etcd-ca
        common_name: "{{ inventory_hostname }}"
        names: ["{{ inventory_hostname }}", "{{ ansible_host }}", 127.0.0.1]
        usages: [server, client]
        owner: etcd
        group: etcd
"""

RETURN = r"""
issued:
  description: Paths of the certificates that were issued, each with the reason.
  type: dict
  returned: always
"""

import grp
import os
import pwd
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudbang.platform.plugins.module_utils import atomic


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def public_half(module: AnsibleModule, path: str) -> str | None:
    """Return the public key's PEM of a private key file, None when there is none or it is damaged.

    A link is none: its target would be given away with it.
    """
    if os.path.islink(path) or not os.path.exists(path):
        return None
    code, out, _err = module.run_command(["openssl", "pkey", "-in", path, "-pubout"])
    return None if code else str(out)


def make_key(module: AnsibleModule, path: str) -> None:
    """Create a key."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with atomic.staged(path) as temporary:
        command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", temporary]
        code, _out, err = module.run_command(command)
        if code or public_half(module, temporary) is None:
            module.fail_json(msg=f"{path}: no key could be made: {err.strip() or 'it cannot be read again'}")


def holder(owner: str, group: str) -> tuple[int, int]:
    """Return the IDs of who is to own a file: only root can give it away. Raises KeyError for an unknown name."""
    if os.geteuid():
        return os.geteuid(), os.getegid()
    return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid


def readable(path: str, owner: str, group: str) -> bool:
    """Return whether a certificate is a regular file with the permissions that M(cloudbang.platform.converge) sets."""
    try:
        info = os.lstat(path)
        return stat.S_ISREG(info.st_mode) and (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (
            *holder(owner, group),
            0o644,
        )
    except (KeyError, OSError):
        return False


def own(module: AnsibleModule, path: str, owner: str, group: str) -> bool:
    """Set the owner of a key; return whether that was, or in check mode would be, a change."""
    try:
        wanted = holder(owner, group)
        info = os.stat(path)
    except (KeyError, FileNotFoundError) as error:
        if module.check_mode:
            return False
        module.fail_json(msg=f"{path}: cannot be given to {owner}:{group}: {error}")
    if (info.st_uid, info.st_gid) == wanted and stat.S_IMODE(info.st_mode) == 0o600:
        return False
    if not module.check_mode:
        os.chmod(path, 0o600)
        os.chown(path, *wanted)
    return True


def main() -> None:
    certificate_spec = {
        "path": {"type": "path", "required": True},
        "authority": {"type": "str", "required": True},
        "common_name": {"type": "str", "required": True},
        "organizations": {"type": "list", "elements": "str", "default": []},
        "names": {"type": "list", "elements": "str", "default": []},
        "usages": {"type": "list", "elements": "str", "choices": ["server", "client"], "default": ["client"]},
        "days": {"type": "int", "default": 365},
        "renew_before": {"type": "int", "default": 30},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
    }
    module = AnsibleModule(
        argument_spec={
            "authorities": {"type": "path", "required": True},
            "certificates": {"type": "list", "elements": "dict", "required": True, "options": certificate_spec},
        },
        supports_check_mode=True,
    )
    found: dict[str, dict[str, Any]] = {}
    made = []
    changed = False
    for one in module.params["certificates"]:
        path = one["path"]
        public = public_half(module, path + ".key")
        if public is None:
            made.append(path)
            if not module.check_mode:
                make_key(module, path + ".key")
                public = public_half(module, path + ".key")
        changed = own(module, path + ".key", one["owner"], one["group"]) or changed
        found[path] = {
            "certificate": read(path + ".crt"),
            "public_key": public,
            "readable": readable(path + ".crt", one["owner"], one["group"]),
        }
    module.exit_json(changed=changed or bool(made), found=found, made=made)


if __name__ == "__main__":
    main()
