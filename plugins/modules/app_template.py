#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep, export and import versions of stacks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_template
short_description: Keep, export and import versions of stacks
version_added: 0.1.0
description:
  - Keeps versions of stacks in the cluster, from where M(cloudbang.platform.app_stack) installs them in one task.
  - A version never changes. The same version with other content is an error.
  - An archive has a template with its container images, each part with its sha256. It brings them to a cluster that
    has no
    way to where they come from.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: full
    description: Secrets appear as a mark that changes when they do.
options:
  name:
    description: Name of the template. With O(state=imported), the one that the archive must have.
    type: str
  version:
    description: Its version, lowercase letters, digits, dots and dashes.
    type: str
  state:
    description:
      - V(present) makes the version, from O(file), O(definition) or O(stack).
      - V(exported) writes it and its images into O(archive).
      - V(imported) verifies O(archive), puts its images into O(registry) and makes the version.
      - V(absent) removes the version. Images and stacks made from it stay.
    type: str
    choices: [present, exported, imported, absent]
    default: present
  file:
    description: Path of a YAML file with what O(definition) has.
    type: path
  definition:
    description: The template.
    type: dict
    suboptions:
      description:
        description: What it is for.
        type: str
      parameters:
        description: What an installation may choose.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the parameter, which C(${name}) in the stack stands for.
            type: str
            required: true
          type:
            description: Its type. A V(secret) may stand in C(secret_env), C(secret_files) and C(credentials) only.
            type: str
            choices: [str, int, bool, choice, secret]
            default: str
          description:
            description: What it is for.
            type: str
          default:
            description: Its value when none is given. Not for a secret.
            type: raw
          required:
            description: Whether a value must be given. One of this, a default and generation is required.
            type: bool
            default: false
          choices:
            description: The values there are, with type V(choice).
            type: list
            elements: str
          generate:
            description: Whether a secret is generated when the stack is first installed. It is kept in the stack's
              record.
            type: bool
            default: false
          length:
            description: Letters and digits of a generated secret, 8 to 1024.
            type: int
            default: 32
      stack:
        description:
          - The C(apps), C(bindings) and C(routes) of M(cloudbang.platform.app_stack), at most 900000 bytes.
          - C(${name}) stands for a parameter, and C($${) for C(${).
        type: dict
        required: true
  stack:
    description:
      - A stack that was deployed, to make the template of.
      - Its secrets do not go along. Each becomes a parameter, C(APP_VARIABLE) in lowercase letters for one in the
        environment.
    type: dict
    suboptions:
      name:
        description: Name of the stack.
        type: str
        required: true
      tenant:
        description: Its tenant.
        type: str
        required: true
  parameters:
    description: With O(stack), definitions in place of those that its secrets get, such as a secret to be generated.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the parameter, which C(${name}) in the stack stands for.
        type: str
        required: true
      type:
        description: Its type. A V(secret) may stand in C(secret_env), C(secret_files) and C(credentials) only.
        type: str
        choices: [str, int, bool, choice, secret]
        default: str
      description:
        description: What it is for.
        type: str
      default:
        description: Its value when none is given. Not for a secret.
        type: raw
      required:
        description: Whether a value must be given. One of this, a default and generation is required.
        type: bool
        default: false
      choices:
        description: The values there are, with type V(choice).
        type: list
        elements: str
      generate:
        description: Whether a secret is generated when the stack is first installed. It is kept in the stack's
          record.
        type: bool
        default: false
      length:
        description: Letters and digits of a generated secret, 8 to 1024.
        type: int
        default: 32
  archive:
    description: Path of the archive, which ends with C(.tar.gz), or C(.tar.zst) when there is the program C(zstd).
    type: path
  digest:
    description:
      - With O(state=imported), the digest that the archive must have, which is RV(archive_digest) of the export.
      - An archive verifies itself, but who exchanges all of it exchanges its sums too.
    type: str
  images:
    description: Whether the archive has, or the import takes, the images.
    type: bool
    default: true
  registry:
    description: Where the images are taken from, or go to. Required with O(images) and O(archive).
    type: dict
    suboptions:
      host:
        description: Host and port, as images name it.
        type: str
        required: true
      url:
        description: Address where it is reached from here. By default C(https://HOST).
        type: str
      username:
        description: Name for basic authentication.
        type: str
      password:
        description: Its password.
        type: str
      ca_cert:
        description: Path of the CA certificates that sign its certificate.
        type: path
      validate_certs:
        description: Whether to verify its certificate.
        type: bool
        default: true
seealso:
  - module: cloudbang.platform.app_stack
"""

EXAMPLES = r"""
- name: Make a version from a file
  cloudbang.platform.app_template:
    name: shop
    version: 1.2.0
    file: files/shop.yml

- name: Make a version of what runs
  cloudbang.platform.app_template:
    name: shop
    version: 1.3.0
    stack: {name: shop, tenant: acme}
    parameters:
      - {name: api_token, type: secret, generate: true}

- name: Take it along
  cloudbang.platform.app_template:
    name: shop
    version: 1.3.0
    state: exported
    archive: /srv/transfer/shop-1.3.0.tar.gz
    registry:
      host: registry.cloudbang.internal:5000
      url: https://10.0.0.31:5001
      username: ci
      password: "{{ vault_registry_password }}"
      ca_cert: /etc/cloudbang/registry-ca.crt

- name: Bring it to another cluster
  cloudbang.platform.app_template:
    state: imported
    archive: /srv/transfer/shop-1.3.0.tar.gz
    registry: {host: "registry.example.org:5000"}
"""

RETURN = r"""
template:
  description: The template.
  returned: when the options are valid and the API answers
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    version:
      description: Its version.
      type: str
    description:
      description: What it is for.
      type: str
    digest:
      description: Digest of its content.
      type: str
    parameters:
      description: Its parameters.
      type: list
      elements: dict
    apps:
      description: Names of its apps.
      type: list
      elements: str
    images:
      description: Digests of its images by their names.
      returned: when O(state) is V(exported) or V(imported)
      type: dict
archive:
  description: Path of the archive.
  returned: when O(state=exported)
  type: str
archive_digest:
  description:
    - Digest of the archive's manifest, which has those of all its other parts. For O(digest) of an import.
    - Missing when check mode says that the archive would be written.
  returned: when O(state=exported) or O(state=imported)
  type: str
  sample: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
pushed:
  description: Images that the registry did not have.
  returned: when O(state=imported)
  type: list
  elements: str
problems:
  description: Everything that is wrong with the options.
  returned: when options are refused
  type: list
  elements: dict
  contains:
    option:
      description: The option.
      type: str
    found:
      description: What it has.
      type: str
    wanted:
      description: What it should have.
      type: str
unknown:
  description: Whether the answer to a change got lost, so that it may have been made or not.
  returned: when it did
  type: bool
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("app_template")


if __name__ == "__main__":
    main()
