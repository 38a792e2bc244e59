#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the image of an app from its source."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_build
short_description: Build the image of an app from its source
version_added: 0.1.0
description:
  - Detects how a source tree is built, builds its image in the cluster, and pushes it to the cluster's registry.
  - The cluster needs the role P(cloudbang.platform.builder#role), which is off by default.
  - Each build has a number. M(cloudbang.platform.app) takes it with O(cloudbang.platform.app#module:build).
  - The same source, plan and base images are the same build. Repeating the task changes nothing and starts no pod.
  - In check mode the task returns the decision, that is plan, reasons and Containerfile, and whether it would build.
  - One app has one build at a time. A second task waits for the first, and takes its result if that is what it wants.
    A build whose controller is gone is replaced.
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
  - cloudbang.platform.target
attributes:
  diff_mode:
    support: full
    description: Shows what of source, plan and base images differs from the last build.
options:
  source:
    description:
      - The source tree. Exactly one of O(source.path), O(source.archive) and O(source.git).
      - At most 500000 files with 1 GiB. Directories C(.git) are left out, and links are kept as links.
    type: dict
    required: true
    suboptions:
      path:
        description: A directory.
        type: path
      archive:
        description:
          - A tar, C(.tar.gz), C(.tar.xz) or zip archive, known by its content.
          - A C(.jar) or C(.war) is not unpacked, because it is the app.
        type: path
      git:
        description:
          - A git repository, which is fetched with a history of one commit, where the task is executed.
          - Submodules are not fetched, and files in LFS are an error. No configuration of git is used.
        type: dict
        suboptions:
          url:
            description:
              - Its URL, V(https://HOST/PATH), V(ssh://USER@HOST/PATH) or V(USER@HOST:PATH), without a password.
            type: str
            required: true
          ref:
            description: A branch, a tag, or a whole commit id. By default the default branch.
            type: str
          key:
            description: A private key for SSH, without password.
            type: str
          token:
            description:
              - A password or token for HTTPS. The user is that of the URL, else C(oauth2).
            type: str
          known_hosts:
            description:
              - Public keys of the SSH server, as lines of a C(known_hosts) file.
              - By default those that the user knows. A server with another key is an error.
            type: str
          allow_path:
            description: Whether O(source.git.url) may be an absolute path.
            type: bool
            default: false
  build:
    description:
      - Decides what is not detected, or detected wrongly. The file C(.cloudbang.yml) of the source may have the same
        options in C(build). These win.
    type: dict
    suboptions:
      language:
        description: The language, of those that a source tree may have.
        type: str
        choices:
          - bun
          - deno
          - dockerfile
          - dotnet
          - go
          - gradle
          - jar
          - maven
          - node
          - php
          - python
          - ruby
          - rust
          - spa
          - static
          - war
      version:
        description: Version of the language, such as V(3.13), or a range.
        type: str
      subdir:
        description: Directory of the app in the source. By default its root.
        type: str
      module:
        description: Module of a project with several.
        type: str
      main:
        description: File or package that starts the app.
        type: str
      bin:
        description: Program of a project with several.
        type: str
      output:
        description: Directory with the result of the build.
        type: str
      include:
        description: More files for the image.
        type: list
        elements: str
      assets:
        description: Whether a C(package.json) beside another language makes assets for it.
        type: str
        choices: [build, skip]
      lockfile:
        description: Whether the lock file must match the manifest, or is updated.
        type: str
        choices: [frozen, update]
      prune:
        description: Whether dependencies of development are left out of the image.
        type: bool
  processes:
    description:
      - Processes by their names, each a command line or a list of words. They win over C(.cloudbang.yml) and
        C(Procfile).
    type: dict
  keep:
    description: How many builds to keep, 1 to 1000. Those that a release of the app uses are kept beside them.
    type: int
    default: 10
  timeout:
    description:
      - Seconds for everything, including the wait for other builds.
      - A build may not run longer than the C(limits.seconds) of the builder.
    type: int
    default: 1800
requirements:
  - cryptography (Python library)
  - websocket-client (Python library, a dependency of C(kubernetes))
  - git (program, for O(source.git))
seealso:
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: Build the shop from its repository
  cloudbang.platform.app_build:
    name: shop
    tenant: acme
    source:
      git:
        url: https://git.example.org/acme/shop.git
        ref: main
        token: "{{ vault_git_token }}"
  register: shop

- name: Deploy what was built
  cloudbang.platform.app:
    name: shop
    tenant: acme
    build: "{{ shop.build.number }}"
    domains: [shop.example.org]

- name: Build one of several apps in a directory, with a version that its files do not name
  cloudbang.platform.app_build:
    name: api
    tenant: acme
    source:
      path: ../shop
    build:
      subdir: services/api
      version: "1.24"
    processes:
      web: ./api --port $PORT

- name: Show how the shop would be built
  cloudbang.platform.app_build:
    name: shop
    tenant: acme
    source: {archive: shop-1.4.2.tar.gz}
  check_mode: true
  register: decision
"""

RETURN = r"""
build:
  description: The build, or in check mode the decision.
  returned: when the options are accepted
  type: dict
  contains:
    number:
      description: Its number, in check mode the next one if nothing was built of the same.
      type: int
    image:
      description: The image by digest, null if it was not built.
      type: str
    commit:
      description: Id of the commit, empty if the source is no repository.
      type: str
    key:
      description: Digest of source, plan and base images. The same key is the same build.
      type: str
    language:
      description: Language of the app.
      type: str
    versions:
      description: Versions of languages and tools by their names.
      type: dict
    processes:
      description: Processes of the app.
      type: list
      elements: dict
      contains:
        name:
          description: Name of the process.
          type: str
        command:
          description: Its command line.
          type: str
        source:
          description: What named it, such as C(Procfile).
          type: str
    port:
      description: Port that the app listens on, also in its variable C(PORT).
      type: int
    reasons:
      description: Why the app is built this way.
      type: list
      elements: str
    rejected:
      description: Languages that have files in the source and were not chosen.
      type: list
      elements: dict
      contains:
        language:
          description: The language.
          type: str
        why:
          description: Why it was not chosen.
          type: str
    warnings:
      description: What the author of the source should know.
      type: list
      elements: str
    plan:
      description: The whole plan.
      type: dict
    containerfile:
      description: The Containerfile, which can be committed to go on without detection.
      type: str
    seconds:
      description: How long the build ran.
      type: int
    cached:
      description: Whether it was built before.
      type: bool
log:
  description: Last lines of the log.
  returned: when the build fails
  type: str
problems:
  description: Errors in the options and in the source.
  returned: when options or source are refused
  type: list
  elements: dict
  contains:
    option:
      description: Name of the option, or path in the source.
      type: str
    found:
      description: What is there.
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
    on_target("app_build")


if __name__ == "__main__":
    main()
