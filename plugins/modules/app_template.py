#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage, export and import templates of stacks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_template
short_description: Manage, export and import templates of stacks
version_added: 0.1.0
description:
  - Stores versions of stacks in the cluster, from which M(cloudbang.platform.app_stack) installs them in one task.
  - A version is immutable. The same version with other content is an error.
  - A template archive contains a template and its container images, each part with its SHA-256, for a cluster without
    access to their source.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: full
    description: Secrets appear as fingerprints that change with them.
options:
  name:
    description: Name of the template. With O(state=imported), the name that the archive must have.
    type: str
  version:
    description: Its version, lowercase letters, digits, dots and dashes.
    type: str
  state:
    description:
      - V(present) creates the version, from O(file), O(definition) or O(stack).
      - V(exported) writes the version and its images to O(archive).
      - V(imported) verifies O(archive), pushes its images to O(registry) and creates the version.
      - V(absent) removes the version. Its images, and stacks installed from it, stay.
    type: str
    choices: [present, exported, imported, absent]
    default: present
  file:
    description: Path of a YAML file with the content of O(definition).
    type: path
  definition:
    description: The template.
    type: dict
    suboptions:
      description:
        description: Purpose.
        type: str
      parameters:
        description: Parameters of an installation.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the parameter. C(${name}) in the stack is replaced by its value.
            type: str
            required: true
          type:
            description: Its type. A V(secret) is allowed only in C(secret_env), C(secret_files) and C(credentials).
            type: str
            choices: [str, int, bool, choice, secret]
            default: str
          description:
            description: Purpose.
            type: str
          default:
            description: Default value. Not for a secret.
            type: raw
          required:
            description: Whether a value must be given. Each parameter needs one of this, a default and generation.
            type: bool
            default: false
          choices:
            description: Allowed values of the type V(choice).
            type: list
            elements: str
          generate:
            description: Whether a secret is generated at the first installation of the stack. It is stored with the
              stack.
            type: bool
            default: false
          length:
            description: Length of a generated secret in letters and digits, 8 to 1024.
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
      - A deployed stack to create the template from.
      - Its secrets are not copied. Each becomes a parameter, C(APP_VARIABLE) in lowercase letters for an environment
        variable.
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
    description: With O(stack), definitions that replace those of its secrets, such as a generated secret.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the parameter. C(${name}) in the stack is replaced by its value.
        type: str
        required: true
      type:
        description: Its type. A V(secret) is allowed only in C(secret_env), C(secret_files) and C(credentials).
        type: str
        choices: [str, int, bool, choice, secret]
        default: str
      description:
        description: Purpose.
        type: str
      default:
        description: Default value. Not for a secret.
        type: raw
      required:
        description: Whether a value must be given. Each parameter needs one of this, a default and generation.
        type: bool
        default: false
      choices:
        description: Allowed values of the type V(choice).
        type: list
        elements: str
      generate:
        description: Whether a secret is generated at the first installation of the stack. It is stored with the stack.
        type: bool
        default: false
      length:
        description: Length of a generated secret in letters and digits, 8 to 1024.
        type: int
        default: 32
  archive:
    description: Path of the archive, which ends with C(.tar.gz), or C(.tar.zst) if the program C(zstd) is installed.
    type: path
  digest:
    description:
      - With O(state=imported), the digest that the archive must have, RV(archive_digest) of the export.
      - The checksums in an archive do not protect it from someone who replaces all of it.
    type: str
  images:
    description: Whether images are exported or imported.
    type: bool
    default: true
  registry:
    description: Registry from which images are exported, or to which they are imported. Required with O(images) and
      O(archive).
    type: dict
    suboptions:
      host:
        description: Host and port, as in image names.
        type: str
        required: true
      url:
        description: URL of the registry. By default C(https://HOST).
        type: str
      username:
        description: Name for basic authentication.
        type: str
      password:
        description: Its password.
        type: str
      ca_cert:
        description: Path of CA certificates to verify its certificate.
        type: path
      validate_certs:
        description: Whether to verify its certificate.
        type: bool
        default: true
seealso:
  - module: cloudbang.platform.app_stack
"""

EXAMPLES = r"""
- name: Create a version from a file
  cloudbang.platform.app_template:
    name: shop
    version: 1.2.0
    file: files/shop.yml

- name: Create a version from a deployed stack
  cloudbang.platform.app_template:
    name: shop
    version: 1.3.0
    stack: {name: shop, tenant: acme}
    parameters:
      - {name: api_token, type: secret, generate: true}

- name: Export the version
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

- name: Import it in another cluster
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
      description: Purpose.
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
    - Digest of the archive's manifest, which has those of all other parts. For O(digest) of an import.
    - Missing in check mode if the archive would be written.
  returned: when O(state=exported) or O(state=imported)
  type: str
  sample: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
pushed:
  description: Images that were pushed because the registry lacked them.
  returned: when O(state=imported)
  type: list
  elements: str
problems:
  description: Errors in the options.
  returned: when options are refused
  type: list
  elements: dict
  contains:
    option:
      description: Name of the option.
      type: str
    found:
      description: Its value.
      type: str
    wanted:
      description: What is allowed instead.
      type: str
unknown:
  description: Whether the API's answer to a change was lost, so that the change may have been made or not.
  returned: when it was lost
  type: bool
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("app_template")


if __name__ == "__main__":
    main()
