# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of the app modules, in one place, in the form of Ansible's argument specs."""

from __future__ import annotations

import os
from typing import Any

Arguments = dict[str, dict[str, Any]]


def _auth(name: str, **more: Any) -> dict[str, Any]:
    return {**more, "env": "K8S_AUTH_" + name}


# The key "env" names the environment variable that stands in for an option that is not given.
_AUTH: Arguments = {
    "kubeconfig": _auth("KUBECONFIG", type="path"),
    "context": _auth("CONTEXT", type="str"),
    "host": _auth("HOST", type="str"),
    "api_key": _auth("API_KEY", type="str", no_log=True),
    "ca_cert": _auth("SSL_CA_CERT", type="path"),
    "client_cert": _auth("CERT_FILE", type="path"),
    "client_key": _auth("KEY_FILE", type="path", no_log=False),
    "validate_certs": _auth("VERIFY_SSL", type="bool"),
    "request_timeout": {"type": "int", "default": 30},
    "execute": {"type": "str", "default": "controller", "choices": ["controller", "target"]},
}
AUTH_NAMES = tuple(_AUTH)

_WAIT: Arguments = {
    "wait": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 300},
    "on_failure": {"type": "str", "default": "rollback", "choices": ["rollback", "keep"]},
}

_PROBE: Arguments = {
    "http": {"type": "str"},
    "tcp": {"type": "bool"},
    "command": {"type": "list", "elements": "str"},
    "port": {"type": "int"},
    "initial_delay": {"type": "int"},
    "period": {"type": "int"},
    "timeout": {"type": "int"},
    "failures": {"type": "int"},
}

_AMOUNTS: Arguments = {"cpu": {"type": "str"}, "memory": {"type": "str"}, "ephemeral_storage": {"type": "str"}}

_PROCESS: Arguments = {
    "name": {"type": "str", "required": True},
    "command": {"type": "raw"},
    "args": {"type": "raw"},
    "ports": {"type": "list", "elements": "raw", "default": []},
    "replicas": {"type": "int", "default": 1},
    "resources": {
        "type": "dict",
        "options": {
            "requests": {"type": "dict", "options": _AMOUNTS},
            "limits": {"type": "dict", "options": _AMOUNTS},
        },
    },
    "readiness": {"type": "dict", "options": _PROBE},
    "liveness": {"type": "dict", "options": _PROBE},
    "startup": {"type": "dict", "options": _PROBE},
}

_PORT: Arguments = {
    "port": {"type": "int", "required": True},
    "name": {"type": "str"},
    "protocol": {"type": "str", "default": "TCP", "choices": ["TCP", "UDP"]},
}


def _file(no_log: bool) -> dict[str, Any]:
    return {
        "type": "list",
        "elements": "dict",
        "default": [],
        "no_log": False,
        "options": {
            "path": {"type": "str", "required": True},
            "content": {"type": "str", "required": True, "no_log": no_log},
            "mode": {"type": "raw", "default": "0444"},
        },
    }


_STATES = {"type": "str", "default": "present", "choices": ["present", "absent", "started", "stopped"]}

_APP: Arguments = {
    "name": {"type": "str"},
    "tenant": {"type": "str"},
    "state": _STATES,
    "image": {"type": "str"},
    "allow_latest": {"type": "bool", "default": False},
    "type": {"type": "str", "default": "web", "choices": ["web", "worker"]},
    "processes": {"type": "list", "elements": "dict", "options": _PROCESS},
    "env": {"type": "dict", "default": {}},
    "secret_env": {"type": "dict", "default": {}, "no_log": True},
    "files": _file(no_log=False),
    "secret_files": _file(no_log=True),
    "domains": {"type": "list", "elements": "str", "default": []},
    "ingress_class": {"type": "str"},
    "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "strategy": {"type": "str", "default": "rolling", "choices": ["rolling"]},
    "drain": {"type": "int", "default": 5},
    "grace": {"type": "int", "default": 30},
    "keep_releases": {"type": "int", "default": 10},
}

# An app of the list `apps` takes every option of an app but those that are of the task.
_LISTED: Arguments = {**_APP, "name": {"type": "str", "required": True}}

_TARGETED: Arguments = {"name": {"type": "str", "required": True}, "tenant": {"type": "str", "required": True}}

_SPECS: dict[str, Arguments] = {
    "app": {**_APP, "apps": {"type": "list", "elements": "dict", "options": _LISTED}, **_WAIT, **_AUTH},
    "app_scale": {
        **_TARGETED,
        "process": {"type": "str"},
        "replicas": {"type": "int", "required": True},
        "wait": _WAIT["wait"],
        "timeout": _WAIT["timeout"],
        **_AUTH,
    },
    "app_release": {
        **_TARGETED,
        "state": {"type": "str", "default": "rollback", "choices": ["rollback"]},
        "version": {"type": "str", "default": "last_good"},
        "keep_releases": {"type": "int", "default": 10},
        **_WAIT,
        **_AUTH,
    },
    "app_info": {
        "name": {"type": "str"},
        "tenant": {"type": "str"},
        "log_lines": {"type": "int", "default": 0},
        "events": {"type": "bool", "default": False},
        **_AUTH,
    },
}

PORT = _PORT
APP = _APP


def arguments(module: str) -> Arguments:
    """Return the options of a module: name to type, default, choices, options, no_log, env."""
    return _SPECS[module]


def argument_spec(module: str) -> dict[str, Any]:
    """Return the options of a module as AnsibleModule wants them: "env" becomes a fallback."""
    from ansible.module_utils.basic import env_fallback

    spec: dict[str, Any] = {}
    for name, option in _SPECS[module].items():
        spec[name] = {key: value for key, value in option.items() if key != "env"}
        if "env" in option:
            spec[name]["fallback"] = (env_fallback, [option["env"]])
    return spec


def from_environment(module: str, given: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the given options completed from K8S_AUTH_* variables (of this process when none are passed)."""
    variables = dict(os.environ) if environment is None else environment
    found = {
        name: variables[option["env"]]
        for name, option in _SPECS[module].items()
        if "env" in option and given.get(name) is None and variables.get(option["env"])
    }
    return {**given, **found}
