#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the artifacts action; the work is done in plugins/action/artifacts.py on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: Fetch or build what Cloudbang installs, on the controller
version_added: 0.1.0
author: Cloudbang Team (@cloudbang)
description:
  - Fetches or builds programs, manifests and container images into a content-addressed cache on the controller, each
    with a verified SHA-256.
  - Missing artifacts are downloaded from their project's releases or from a mirror, or built from source, several
    components at a time. Progress is shown at least every ten seconds.
  - Everything happens on the controller. Run it once, as the role P(cloudbang.platform.artifacts#role) does.
  - The default of each option is the variable of the same name with the prefix C(artifacts_), such as
    C(artifacts_source), then the value that is documented here.
options:
  names:
    description:
      - Names of artifacts in the catalogue, C(roles/artifacts/files/catalogue.yml).
      - When empty or not given, all artifacts without those that are fetched only when a role needs them, such as the
        base images of builds. With O(bundle), all artifacts of the catalogue.
    type: list
    elements: str
  source:
    description:
      - V(upstream) downloads official releases, verified by the checksum file of each project. Artifacts that a project
        does not publish are built.
      - V(mirror) downloads everything from O(mirror).
      - V(build) compiles everything from the Go module proxy, with every module verified by go.sum.
      - V(auto), the default, is V(upstream) for each project whose server answers within a few seconds, else V(build).
        The choice is printed.
    type: str
    choices: [auto, upstream, mirror, build]
  cache_dir:
    description:
      - Directory of the cache. Several runs can use it at once, and it can be deleted at any time.
      - Whoever can write to it controls the programs of all hosts, so users must not share a cache.
      - The default is C(~/.cache/cloudbang).
    type: str
  mirror:
    description:
      - URL or directory that O(bundle) wrote. Required when O(source=mirror).
      - Its files are recorded in O(lock_file). A file that differs from its record is refused.
    type: str
  mirror_sha256:
    description:
      - SHA-256 of the C(manifest.json) in O(mirror), which has the sums of all files. Another manifest is refused.
      - Required when O(mirror) is a URL with C(http://). RV(mirror_sha256) of the run that wrote the mirror is this
        value.
    type: str
  versions:
    description:
      - Versions that differ from the catalogue, by component. Quote them, as YAML reads an unquoted 1.30 as a number.
    type: dict
  arch:
    description:
      - Architecture of the hosts, V(amd64) or V(arm64). The default is V(amd64).
    type: str
  lock_file:
    description:
      - YAML file that records the SHA-256 of everything that upstream or a mirror served. A file that differs from its
        record is an error, whether it comes from upstream or a mirror. Keep the lock file under version control to
        enforce the same files at other sites.
      - The default is C(artifacts.lock.yml) in O(cache_dir).
    type: str
  bundle:
    description:
      - Directory to write a mirror of O(names) to, for sites without access to the internet.
      - Existing files are kept.
    type: str
attributes:
  check_mode:
    description: Reports what would be fetched or built.
    support: full
  diff_mode:
    description: There is no text to compare.
    support: none
  idempotent:
    description: Nothing is fetched when everything is cached.
    support: full
"""

EXAMPLES = r"""
- name: Fetch or build the node's programs
  cloudbang.platform.artifacts:
    names: [kubelet, kube-proxy, containerd]
  delegate_to: localhost
  run_once: true
  register: programs

- name: Install one of them
  ansible.builtin.copy:
    src: "{{ programs.artifacts.kubelet.path }}"
    dest: /usr/local/bin/kubelet
    mode: "0755"

- name: Write a mirror for a site without internet
  cloudbang.platform.artifacts:
    source: upstream
    lock_file: artifacts.lock.yml
    bundle: /srv/cloudbang-mirror
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
artifacts:
  description:
    - The files by name. C(digest) is that of an image in a registry after C(crane push).
    - C(made) is the origin of the file, V(upstream) or V(build), also for a file from a mirror.
    - In check mode each has C(component), C(version), C(cached) and C(origin) only.
  returned: success
  type: dict
  sample:
    kubelet:
      name: kubelet
      component: kubernetes
      version: 1.36.3
      path: /home/me/.cache/cloudbang/blobs/sha256/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      size: 84426914
      kind: executable
      origin: build
      made: build
      digest: ""
      created: false
missing:
  description: Names that would be fetched or built. Always empty outside check mode.
  returned: success
  type: list
  elements: str
  sample: [kubelet]
written:
  description: Paths that were written to the mirror.
  returned: when O(bundle) is given
  type: list
  elements: str
  sample: [kubernetes/1.36.3/amd64/kubelet, manifest.json]
mirror_sha256:
  description: SHA-256 of the mirror's C(manifest.json), for O(mirror_sha256) at the sites that use it.
  returned: when O(bundle) is given
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""
