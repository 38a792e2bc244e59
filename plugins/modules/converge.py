#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converge files and the systemd units that use them, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: converge
short_description: Converge packages, users, files, certificates and the services that use them
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Renders templates and kubeconfigs, collects copies, artifacts, directories and links on the controller, and
    converges all of them on the host in one round trip. Large files are sent only when the host does not have them
    already.
  - Creates EC P-256 keys on the host, has them signed by authorities on the controller, and renews certificates that
    expire soon or no longer match the options. A key never leaves its host. If something has to change, a task with
    certificates takes another round trip, in which the certificates are files like all others; a unit is not restarted
    between a new key and its certificate.
  - A unit is restarted if the files that it uses differ from those that it was started with, or if its effect is gone.
    Since this is compared at each run, a run repairs an earlier one that stopped after a file had changed.
options:
  packages:
    description:
      - Names of Debian packages, installed before all else. dpkg is asked, and apt only if one is missing, so that a
        host that has them needs neither the network nor C(python3-apt).
    type: list
    elements: str
    default: []
  users:
    description: System users without a login, created before all files.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      home:
        description: Home directory in the user database. It is not created.
        type: path
        default: /nonexistent
      group:
        description:
          - Name of the primary group, which must exist or be that of a user before it.
          - Without it a new user gets a group of its own name, and another one keeps its group.
        type: str
  files:
    description:
      - Files, directories and links on the host, in order. A file has exactly one source.
      - Certificates come first, wherever they are in the list, so that commands that check other files find them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path on the host. Missing parent directories are created with mode V(0755).
        type: path
        required: true
      template:
        description: Name of a Jinja2 template, searched as M(ansible.builtin.template) does.
        type: str
      src:
        description: Name of a file on the controller, searched as M(ansible.builtin.copy) does.
        type: str
      tree:
        description:
          - Name of a directory on the controller, searched as M(ansible.builtin.copy) does. O(files[].path) gets all
            files below it, each replaced whole, and loses all others. Hidden files and what Python compiles are neither
            sent nor removed.
        type: str
      content:
        description: Content of the file. A mapping or a list is written as JSON.
        type: raw
      kubeconfig:
        description:
          - Options of a kubeconfig for the cluster of the inventory, with one user and one context.
          - Paths are on the host, or with O(files[].kubeconfig.embed) on the controller.
        type: dict
        suboptions:
          user:
            description: Name of the user.
            type: str
            required: true
          certificate:
            description: Path of the user's certificate and key, without V(.crt) and V(.key).
            type: path
            required: true
          authority:
            description: Path of the certificate of the authority that signed the API server's.
            type: path
            required: true
          context:
            description: Name of the context.
            type: str
            default: default
          embed:
            description:
              - Whether the kubeconfig contains these files instead of their paths.
              - If the task runs on the controller, the certificate can be one of the same task.
            type: bool
            default: false
      certificate:
        description:
          - Content of a certificate. The host has the key in O(files[].path) with the extension C(.key) and the mode
            V(0600), and the certificate with the extension C(.crt) and the mode V(0644).
        type: dict
        suboptions:
          authority:
            description: Name of the authority in O(authorities) that signs the certificate.
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
      artifact:
        description: Name of an artifact, fetched or built by M(cloudbang.platform.artifacts) when it is not cached.
        type: str
      link:
        description: Target of the symbolic link at O(files[].path).
        type: str
      state:
        description:
          - Kind of O(files[].path), or V(absent) to remove it. V(link) is implied by O(files[].link), V(tree) by
            O(files[].tree).
        type: str
        choices: [file, directory, link, tree, absent]
        default: file
      mode:
        description:
          - Permission bits in octal. The directories of a tree can be entered by all who can read its files.
          - The default is V(0644), V(0755) for directories and artifacts, V(0600) for kubeconfigs.
        type: str
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group.
        type: str
        default: root
      validate:
        description: Command that checks a new version before it replaces the old one. V(%s) is replaced by its path.
        type: str
      secret:
        description: Whether to hide the content in diffs. Files without access for others are always hidden.
        type: bool
        default: false
  services:
    description: systemd units, converged in order after all files.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit; C(.service) is implied.
        type: str
        required: true
      state:
        description:
          - Wanted state of the unit. V(stopped) is reached before O(files) change, so that they can remove the unit.
        type: str
        choices: [started, stopped]
        default: started
      enabled:
        description: Whether the unit starts at boot.
        type: bool
        default: true
      uses:
        description:
          - Files that the running process depends on, besides its unit file. A directory means all files in it, except
            those that Python compiles.
          - The default is all of O(files) that are regular files or trees, and of certificates those with the extension
            C(.crt).
        type: list
        elements: path
      reload:
        description: Whether to reload the unit instead of restarting it, if only the files changed and its effect
          exists.
        type: bool
        default: false
      rolling:
        description:
          - Whether to start the unit if it is stopped, but not to restart it. A unit that needs a restart is in
            RV(stale), so that a second, throttled task can restart it.
        type: bool
        default: false
      effect:
        description:
          - Command, run without a shell, that succeeds while the unit's effect exists, such as rules in the kernel. A
            unit whose effect is gone is stale, whatever its files. The command runs in check mode, too.
          - Without O(services[].health), the task waits for it after a start.
        type: str
      health:
        description: Command, run without a shell, that succeeds when the started or restarted unit works.
        type: str
      health_timeout:
        description: Seconds to wait for O(services[].health).
        type: int
        default: 60
  authorities:
    description:
      - Directory on the controller with the authorities of O(files[].certificate), as
        M(cloudbang.platform.authorities) creates them.
      - The default is the variable C(cloudbang_pki_dir).
    type: path
  record:
    description:
      - Whether M(cloudbang.platform.node_reset) removes O(files) from the host; directories with their content.
      - V(true) by default, and V(false) if the task is delegated.
    type: bool
attributes:
  check_mode:
    support: full
    description: Returns what would change, and changes nothing.
  diff_mode:
    support: full
    description: Shows text files, except secret ones. Keys are never shown.
requirements:
  - openssl on the host, for certificates
  - cryptography >= 42 on the controller, for certificates
"""

EXAMPLES = r"""
- name: Configure and run etcd
  cloudbang.platform.converge:
    users:
      - name: etcd
        home: /var/lib/etcd
    files:
      - path: /usr/local/bin/etcd
        artifact: etcd
      - path: /etc/etcd/pki/server
        certificate:
          authority: etcd-ca
          common_name: "{{ inventory_hostname }}"
          names: ["{{ inventory_hostname }}", "{{ ansible_host }}", 127.0.0.1]
          usages: [server, client]
        owner: etcd
        group: etcd
      - path: /etc/systemd/system/etcd.service
        template: etcd.service.j2
        mode: "0600"
    services:
      - name: etcd
        rolling: true
  register: etcd_files

- name: Restart etcd one member at a time
  cloudbang.platform.converge:
    services:
      - name: etcd
        uses: [/usr/local/bin/etcd]
        health: etcdctl endpoint health
  throttle: 1
  when: "'etcd' in etcd_files.stale"
"""

RETURN = r"""
installed:
  description: Packages that were, or in check mode would be, installed.
  type: list
  elements: str
  returned: always
changed_users:
  description: Users that were, or in check mode would be, created or changed.
  type: list
  elements: str
  returned: always
changed_files:
  description: Paths that were, or in check mode would be, changed.
  type: list
  elements: str
  returned: always
restarted:
  description: Units that were started, restarted, reloaded or stopped.
  type: list
  elements: str
  returned: always
stale:
  description: Rolling units that were started with other files, or whose effect is gone.
  type: list
  elements: str
  returned: always
issued:
  description: Reasons for which certificates were, or in check mode would be, issued, by path without extension.
  type: dict
  returned: success
missing:
  description: Paths of the files whose content the host does not have yet. Empty in the result of a task.
  type: list
  elements: str
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.cloudbang.platform.plugins.module_utils.host import HostError, packages, users
from ansible_collections.cloudbang.platform.plugins.module_utils.host.certificates import Certificates, pair
from ansible_collections.cloudbang.platform.plugins.module_utils.host.files import Digests, Files, record
from ansible_collections.cloudbang.platform.plugins.module_utils.host.services import Services


def main() -> None:
    kubeconfig_spec = {
        "user": {"type": "str", "required": True},
        "certificate": {"type": "path", "required": True},
        "authority": {"type": "path", "required": True},
        "context": {"type": "str", "default": "default"},
        "embed": {"type": "bool", "default": False},
    }
    certificate_spec = {
        "authority": {"type": "str", "required": True},
        "common_name": {"type": "str", "required": True},
        "organizations": {"type": "list", "elements": "str", "default": []},
        "names": {"type": "list", "elements": "str", "default": []},
        "usages": {"type": "list", "elements": "str", "choices": ["server", "client"], "default": ["client"]},
        "days": {"type": "int", "default": 365},
        "renew_before": {"type": "int", "default": 30},
    }
    # The action plugin makes every source a content: its digest; its bytes in base64, compressed by zlib, when it is
    # small; otherwise its path on the host, once it was sent. That of a tree is such contents by relative path.
    file_spec = {
        "path": {"type": "path", "required": True},
        "template": {"type": "str"},
        "src": {"type": "str"},
        "tree": {"type": "str"},
        "content": {"type": "raw", "no_log": True},
        "kubeconfig": {"type": "dict", "options": kubeconfig_spec},
        "certificate": {"type": "dict", "options": certificate_spec},
        "artifact": {"type": "str"},
        "state": {"type": "str", "choices": ["file", "directory", "link", "tree", "absent"], "default": "file"},
        "link": {"type": "str"},
        "mode": {"type": "str"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "validate": {"type": "str"},
        "secret": {"type": "bool", "default": False, "no_log": False},
    }
    service_spec = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
        "enabled": {"type": "bool", "default": True},
        "uses": {"type": "list", "elements": "path"},
        "reload": {"type": "bool", "default": False},
        "rolling": {"type": "bool", "default": False},
        "effect": {"type": "str"},
        "health": {"type": "str"},
        "health_timeout": {"type": "int", "default": 60},
    }
    user_spec = {
        "name": {"type": "str", "required": True},
        "home": {"type": "path", "default": "/nonexistent"},
        "group": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "users": {"type": "list", "elements": "dict", "default": [], "options": user_spec},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file_spec},
            "services": {"type": "list", "elements": "dict", "default": [], "options": service_spec},
            "authorities": {"type": "path"},
            "record": {"type": "bool"},
        },
        supports_check_mode=True,
    )
    entries = [entry for entry in module.params["files"] if not entry["certificate"]]
    pairs = [pair(entry) for entry in module.params["files"] if entry["certificate"]]
    # The controller signs with what this run finds. Until then all but packages, users and keys is only compared: no
    # service restarts with a new key and the old certificate, or waits for its health with one that has expired.
    check = module.check_mode or bool(pairs)
    digests = Digests()
    done = Files(module, digests, module.check_mode)
    files = Files(module, digests, check) if pairs else done
    services = Services(module, digests, files.changed, check)
    restarted: list[str] = [] if pairs else services.changed
    certificates = Certificates(module, done, files)
    installed: list[str] = []
    changed_users: list[str] = []
    found: dict[str, dict[str, str | None]] = {}
    # A dry run that finds an error in a file leaves it to the second run, which writes the certificates before it
    # fails. Services are only compared in a dry run, which finds none.
    dry, blocked = bool(pairs) and not module.check_mode, False
    try:
        installed += packages.install(module, module.params["packages"])
        changed_users += users.create(module, module.params["users"])
        if module.params["record"] and not module.check_mode and os.geteuid() == 0:
            record([*(one for both in pairs for one in both), *entries])
        services.stop(module.params["services"])
        for key, certificate in pairs:
            found[key["path"].removesuffix(".key")] = certificates.find(key, certificate)
        for entry in entries:
            try:
                files.converge(entry)
            except HostError:
                if not dry:
                    raise
                blocked = True
        if (not files.missing or check) and not blocked:
            services.converge(module.params["services"], [*(certificate for _key, certificate in pairs), *entries])
        if not module.check_mode:
            digests.save()
    except (HostError, OSError) as error:
        module.fail_json(
            msg=str(error),
            changed=bool(installed or changed_users or done.changed),
            installed=installed,
            changed_users=changed_users,
            changed_files=done.changed,
            restarted=restarted,
            stale=[],
            missing=files.missing,
        )
    module.exit_json(
        changed=bool(installed or changed_users or done.changed or restarted),
        installed=installed,
        changed_users=changed_users,
        changed_files=done.changed,
        restarted=restarted,
        stale=services.stale,
        missing=files.missing,
        diff=done.diff,
        found=found,
        due=bool(pairs and (blocked or files.changed or services.changed or services.due)),
    )


if __name__ == "__main__":
    main()
