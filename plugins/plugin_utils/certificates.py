# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of hosts: from the options of a task and what a host has to signatures of authorities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import plain
from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import Authority, AuthorityError, Wanted

OPTIONS: dict[str, dict[str, Any]] = {
    "authority": {"type": "str", "required": True},
    "common_name": {"type": "str", "required": True},
    "organizations": {"type": "list", "elements": "str", "default": []},
    "names": {"type": "list", "elements": "str", "default": []},
    "usages": {"type": "list", "elements": "str", "choices": ["server", "client"], "default": ["client"]},
    "days": {"type": "int", "default": 365},
    "renew_before": {"type": "int", "default": 30},
}


def checked(options: Any) -> dict[str, Any]:
    """Return the options of a certificate with types and defaults. Raises AuthorityError."""
    if not isinstance(options, Mapping):
        raise AuthorityError(f"certificate: found {options!r}, wanted a mapping")
    given = {key: value for key, value in plain(options).items() if value not in (None, "")}
    result = ArgumentSpecValidator(OPTIONS).validate(given)
    if result.error_messages:
        raise AuthorityError(f"certificate: {'; '.join(result.error_messages)}")
    found: dict[str, Any] = result.validated_parameters
    return found


def sign(
    directory: Path,
    wanted: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, str | None]],
    check_mode: bool,
) -> tuple[dict[str, str | None], dict[str, str]]:
    """Issue the certificates that do not match their options.

    directory: the authorities on the controller.
    wanted: what `checked` returned, by path without extension.
    found: `public_key` and `certificate` of each on the host as PEM, None when there is none, by the same paths.
    Returns all certificates as PEM, None for those that would be issued in check mode, and the reasons for those that
    are issued, both by path. Raises AuthorityError.
    """
    authorities: dict[str, Authority] = {}
    signed: dict[str, str | None] = {}
    issued: dict[str, str] = {}
    for path, options in wanted.items():
        name, public_key, certificate = options["authority"], found[path]["public_key"], found[path]["certificate"]
        leaf = Wanted(
            options["common_name"],
            tuple(options["organizations"]),
            tuple(options["names"]),
            tuple(options["usages"]),
            options["days"],
            options["renew_before"],
        )
        reason: str | None = None
        if check_mode and not (directory / f"{name}.crt").exists():
            reason = "its authority does not exist yet"
        elif public_key is None:
            reason = "there is no key"
        else:
            if name not in authorities:
                authorities[name] = Authority(directory, name)
            reason = authorities[name].unfit(certificate, public_key, leaf)
            if reason and not check_mode:
                certificate = authorities[name].issue(public_key, leaf)
        if reason:
            issued[path] = reason
        signed[path] = None if reason and check_mode else certificate
    return signed, issued
