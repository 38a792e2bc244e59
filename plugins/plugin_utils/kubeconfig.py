# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubeconfigs of components and administrators."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import plain

OPTIONS = {"user", "certificate", "authority", "context", "embed"}
REQUIRED = {"user", "certificate", "authority"}


class KubeconfigError(ValueError):
    """An error in the options of a kubeconfig."""


def kubeconfig(
    cluster: str, server: str, options: Mapping[str, Any], contents: Mapping[str, bytes] | None = None
) -> str:
    """Return the text of a kubeconfig with one user and one context.

    cluster, server: the cluster's name, and the URL of its API server.
    options: `user`, the user's name; `certificate`, the path of its certificate and its key without .crt and .key;
    `authority`, the path of the certificate that the API server is known by; `context`, the context's name, `default`
    by default; `embed`, whether the text has what these files hold here instead of their paths on the host.
    contents: what files to embed are to have, by path; the others are read.
    Raises KubeconfigError; OSError when a file to embed cannot be read.
    """
    # Ansible's marked strings are none that YAML knows.
    cluster, server, options = plain([cluster, server, dict(options)])
    unknown, missing = sorted(set(options) - OPTIONS), sorted(REQUIRED - set(options))
    if unknown or missing:
        raise KubeconfigError(f"kubeconfig: found {unknown or 'no ' + ', '.join(missing)}, wanted {sorted(OPTIONS)}")
    embed = options.get("embed", False)
    if not isinstance(embed, bool):
        raise KubeconfigError(f"kubeconfig: embed: found {embed!r}, wanted true or false")

    def file(key: str, path: str) -> dict[str, str]:
        if not embed:
            return {key: path}
        content = (contents or {}).get(path) or Path(path).expanduser().read_bytes()
        return {f"{key}-data": base64.b64encode(content).decode()}

    user, context = str(options["user"]), str(options.get("context", "default"))
    certificate = str(options["certificate"])
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, **file("certificate-authority", str(options["authority"]))}}
        ],
        "users": [
            {
                "name": user,
                "user": {
                    **file("client-certificate", f"{certificate}.crt"),
                    **file("client-key", f"{certificate}.key"),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
    }
    return str(yaml.safe_dump(config, sort_keys=False, width=2**20))
