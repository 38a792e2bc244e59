# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the app modules, in one place, in the form of Ansible's argument specs."""

from __future__ import annotations

import os
from typing import Any

from .types import DEFAULT, STRATEGIES, TYPES

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

_RESOURCES: dict[str, Any] = {
    "type": "dict",
    "options": {
        "requests": {"type": "dict", "options": _AMOUNTS},
        "limits": {"type": "dict", "options": _AMOUNTS},
    },
}

_PLACEMENT: Arguments = {
    "spread": {"type": "str", "default": "hosts", "choices": ["hosts", "zones", "none"]},
    "node_labels": {"type": "dict", "default": {}},
    "tolerations": {"type": "list", "elements": "str", "default": []},
}

# What only the processes of a job or cron app take, and what only those of a cron app do.
_RUN: Arguments = {
    "parallelism": {"type": "int"},
    "completions": {"type": "int"},
    "retries": {"type": "int"},
    "deadline": {"type": "int"},
}
_SCHEDULE: Arguments = {
    "schedule": {"type": "str"},
    "time_zone": {"type": "str"},
    "concurrency": {"type": "str", "choices": ["allow", "forbid", "replace"]},
    "start_deadline": {"type": "int"},
    "history": {"type": "dict", "options": {"succeeded": {"type": "int"}, "failed": {"type": "int"}}},
}

_PROCESS: Arguments = {
    "name": {"type": "str", "required": True},
    "command": {"type": "raw"},
    "args": {"type": "raw"},
    "ports": {"type": "list", "elements": "raw", "default": []},
    "replicas": {"type": "int", "default": 1},
    "resources": _RESOURCES,
    "readiness": {"type": "dict", "options": _PROBE},
    "liveness": {"type": "dict", "options": _PROBE},
    "startup": {"type": "dict", "options": _PROBE},
    "placement": {"type": "dict", "options": _PLACEMENT},
    "host_network": {"type": "bool", "default": False},
    **_SCHEDULE,
    **_RUN,
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
    "build": {"type": "raw"},
    "allow_latest": {"type": "bool", "default": False},
    "type": {"type": "str", "default": DEFAULT, "choices": list(TYPES)},
    "processes": {"type": "list", "elements": "dict", "options": _PROCESS},
    "env": {"type": "dict", "default": {}},
    "secret_env": {"type": "dict", "default": {}, "no_log": True},
    "files": _file(no_log=False),
    "secret_files": _file(no_log=True),
    "domains": {"type": "list", "elements": "str", "default": []},
    "ingress_class": {"type": "str"},
    "image_pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "strategy": {"type": "str", "default": "rolling", "choices": list(STRATEGIES)},
    "restart_key": {"type": "str", "no_log": False},
    "host_ports": {"type": "str", "default": "20000-24999"},
    "drain": {"type": "int", "default": 5},
    "grace": {"type": "int", "default": 30},
    "keep_releases": {"type": "int", "default": 10},
    "force": {"type": "bool", "default": False},
}

# An app of the list `apps` takes every option of an app but those that are of the task.
_LISTED: Arguments = {**_APP, "name": {"type": "str", "required": True}}

_TARGETED: Arguments = {"name": {"type": "str", "required": True}, "tenant": {"type": "str", "required": True}}

_BINDING: Arguments = {
    "target": {"type": "str", "required": True},
    "target_tenant": {"type": "str"},
    "kind": {"type": "str", "default": "app", "choices": ["app"]},
    "process": {"type": "str"},
    "prefix": {"type": "str"},
    "mapping": {"type": "dict"},
    "scheme": {"type": "str", "default": "http"},
    "credentials": {"type": "dict", "default": {}, "no_log": True},
    "credentials_from": {"type": "dict", "default": {}, "no_log": False},
}
_BINDING_STATE = {"type": "str", "default": "present", "choices": ["present", "absent"]}

# What a stack consists of: in a task, or in a template.
_STACK: Arguments = {
    "apps": {
        "type": "list",
        "elements": "dict",
        "options": {
            **{name: option for name, option in _LISTED.items() if name not in ("tenant", "state", "force", "build")},
            "depends_on": {"type": "list", "elements": "str", "default": []},
        },
    },
    "bindings": {
        "type": "list",
        "elements": "dict",
        "options": {"app": {"type": "str", "required": True}, **_BINDING},
    },
    "routes": {"type": "list", "elements": "dict"},
}

_PARAMETER: Arguments = {
    "name": {"type": "str", "required": True},
    "type": {"type": "str", "default": "str", "choices": ["str", "int", "bool", "choice", "secret"]},
    "description": {"type": "str"},
    "default": {"type": "raw"},
    "required": {"type": "bool", "default": False},
    "choices": {"type": "list", "elements": "str"},
    "generate": {"type": "bool", "default": False},
    "length": {"type": "int", "default": 32},
}
_TEMPLATE: Arguments = {
    "description": {"type": "str"},
    "parameters": {"type": "list", "elements": "dict", "options": _PARAMETER},
    "stack": {"type": "dict", "required": True},
}

_COUNT: dict[str, Any] = {"type": "int"}
_AMOUNT: dict[str, Any] = {"type": "str"}
_CONTAINER: dict[str, Any] = {
    "type": "dict",
    "options": {"cpu": _AMOUNT, "memory": _AMOUNT, "ephemeral_storage": _AMOUNT},
}
_TEXTS: dict[str, Any] = {"type": "list", "elements": "str", "default": []}

_TENANT: Arguments = {
    "name": {"type": "str"},
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
    "pod_security": {"type": "str", "default": "baseline", "choices": ["baseline", "restricted", "privileged"]},
    "quota": {
        "type": "dict",
        "options": {
            "cpu": _AMOUNT,
            "memory": _AMOUNT,
            "limits_cpu": _AMOUNT,
            "limits_memory": _AMOUNT,
            "ephemeral_storage": _AMOUNT,
            "storage": _AMOUNT,
            "volume_claims": _COUNT,
            "pods": _COUNT,
            "services": _COUNT,
            "node_ports": _COUNT,
            "load_balancers": _COUNT,
            "secrets": {**_COUNT, "no_log": False},
            "config_maps": _COUNT,
        },
    },
    "objects": {"type": "dict"},
    "limits": {
        "type": "dict",
        "options": {"default": _CONTAINER, "default_request": _CONTAINER, "max": _CONTAINER, "min": _CONTAINER},
    },
    "network": {"type": "str", "default": "isolated", "choices": ["isolated", "open"]},
    "peers": _TEXTS,
    "domains": _TEXTS,
    "tolerations": _TEXTS,
    "priority_classes": _TEXTS,
    "images": _TEXTS,
    "members": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "kind": {"type": "str", "default": "user", "choices": ["user", "group", "service_account"]},
            "role": {"type": "str", "required": True, "choices": ["owner", "developer", "viewer"]},
        },
    },
    "adopt": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
}

_ROUTE: Arguments = {
    "name": {"type": "str"},
    "app": {"type": "str"},
    "tenant": {"type": "str"},
    "process": {"type": "str"},
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
    "domains": {"type": "list", "elements": "str", "default": []},
    "paths": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "type": {"type": "str", "default": "prefix", "choices": ["prefix", "exact"]},
            "strip": {"type": "bool", "default": False},
        },
    },
    "tls": {
        "type": "dict",
        "options": {
            "mode": {"type": "str", "choices": ["none", "cluster", "passthrough"]},
            "certificate": {"type": "str"},
            "key": {"type": "str", "no_log": True},
        },
    },
    "redirect": {"type": "raw"},
    "ports": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "port": {"type": "int"},
            "protocol": {"type": "str", "default": "TCP", "choices": ["TCP", "UDP"]},
            "target": {"type": "raw"},
        },
    },
    "weights": {
        "type": "list",
        "elements": "dict",
        "options": {
            "app": {"type": "str"},
            "process": {"type": "str"},
            "service": {"type": "str"},
            "weight": {"type": "int", "required": True},
        },
    },
    "sticky": {"type": "raw"},
}

# What decides how an image is made of a source tree: in a task, or in the file of a tree.
LANGUAGES = (
    "bun",
    "deno",
    "dockerfile",
    "dotnet",
    "go",
    "gradle",
    "jar",
    "maven",
    "node",
    "php",
    "python",
    "ruby",
    "rust",
    "spa",
    "static",
    "war",
)
BUILD: Arguments = {
    "language": {"type": "str", "choices": list(LANGUAGES)},
    "version": {"type": "str"},
    "subdir": {"type": "str"},
    "module": {"type": "str"},
    "main": {"type": "str"},
    "bin": {"type": "str"},
    "output": {"type": "str"},
    "include": {"type": "list", "elements": "str"},
    "assets": {"type": "str", "choices": ["build", "skip"]},
    "lockfile": {"type": "str", "choices": ["frozen", "update"]},
    "prune": {"type": "bool"},
}
_SOURCE: Arguments = {
    "path": {"type": "path"},
    "archive": {"type": "path"},
    "git": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "ref": {"type": "str"},
            "key": {"type": "str", "no_log": True},
            "token": {"type": "str", "no_log": True},
            "known_hosts": {"type": "str"},
            "allow_path": {"type": "bool", "default": False},
        },
    },
}

_FINISH: Arguments = {"wait": _WAIT["wait"], "timeout": _WAIT["timeout"]}


def _several(options: Arguments) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "options": options}


_SPECS: dict[str, Arguments] = {
    "app": {**_APP, "apps": {"type": "list", "elements": "dict", "options": _LISTED}, **_WAIT, **_AUTH},
    "app_build": {
        **_TARGETED,
        "source": {"type": "dict", "required": True, "options": _SOURCE},
        "build": {"type": "dict", "options": BUILD},
        "processes": {"type": "dict"},
        "keep": {"type": "int", "default": 10},
        "timeout": {"type": "int", "default": 1800},
        **_AUTH,
    },
    "app_scale": {
        **_TARGETED,
        "process": {"type": "str"},
        "replicas": {"type": "int"},
        "processes": {"type": "dict"},
        "autoscale": {"type": "raw"},
        "resources": _RESOURCES,
        "host_ports": _APP["host_ports"],
        "wait": _WAIT["wait"],
        "timeout": _WAIT["timeout"],
        **_AUTH,
    },
    "app_release": {
        **_TARGETED,
        "state": {"type": "str", "default": "rollback", "choices": ["rollback", "promote"]},
        "version": {"type": "str"},
        "from_tenant": {"type": "str"},
        "from_app": {"type": "str"},
        "scope": {"type": "str", "default": "all", "choices": ["all", "image"]},
        "keep_releases": {"type": "int", "default": 10},
        **_WAIT,
        **_AUTH,
    },
    "app_binding": {
        **_TARGETED,
        "state": _BINDING_STATE,
        **_BINDING,
        "target": {"type": "str"},
        "bindings": {"type": "list", "elements": "dict", "options": {**_BINDING, "state": _BINDING_STATE}},
        "keep_releases": {"type": "int", "default": 10},
        **_WAIT,
        **_AUTH,
    },
    "app_stack": {
        **_TARGETED,
        "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        **_STACK,
        "compose": {
            "type": "dict",
            "options": {
                "path": {"type": "path"},
                "content": {"type": "raw"},
                "variables": {"type": "dict", "default": {}},
                "secret_variables": {"type": "dict", "default": {}, "no_log": True},
                "allow_paths": {"type": "list", "elements": "path", "default": []},
            },
        },
        "template": {
            "type": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "version": {"type": "str", "required": True},
                "parameters": {"type": "dict", "default": {}},
                "secret_parameters": {"type": "dict", "default": {}, "no_log": True},
            },
        },
        "prune": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
        "wait": _WAIT["wait"],
        "timeout": _WAIT["timeout"],
        "on_failure": {"type": "str", "default": "rollback", "choices": ["rollback", "hold"]},
        **_AUTH,
    },
    "app_template": {
        "name": {"type": "str"},
        "version": {"type": "str"},
        "state": {"type": "str", "default": "present", "choices": ["present", "exported", "imported", "absent"]},
        "file": {"type": "path"},
        "definition": {"type": "dict", "options": _TEMPLATE},
        "stack": {"type": "dict", "options": _TARGETED},
        "parameters": {"type": "list", "elements": "dict", "options": _PARAMETER},
        "archive": {"type": "path"},
        "digest": {"type": "str"},
        "images": {"type": "bool", "default": True},
        "registry": {
            "type": "dict",
            "options": {
                "host": {"type": "str", "required": True},
                "url": {"type": "str"},
                "username": {"type": "str"},
                "password": {"type": "str", "no_log": True},
                "ca_cert": {"type": "path"},
                "validate_certs": {"type": "bool", "default": True},
            },
        },
        **_AUTH,
    },
    "app_info": {
        "name": {"type": "str"},
        "tenant": {"type": "str"},
        "log_lines": {"type": "int", "default": 0},
        "events": {"type": "bool", "default": False},
        "topology": {"type": "str", "default": "none", "choices": ["none", "data", "dot", "mermaid"]},
        **_AUTH,
    },
    "app_route": {**_ROUTE, "routes": _several(_ROUTE), **_FINISH, **_AUTH},
    "tenant": {**_TENANT, "tenants": _several(_TENANT), **_FINISH, **_AUTH},
    "tenant_kubeconfig": {
        "tenant": {"type": "str", "required": True},
        "member": {"type": "str", "required": True},
        "kind": {"type": "str", "default": "user", "choices": ["user", "service_account"]},
        "path": {"type": "path", "required": True},
        "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        "lifetime": {"type": "str", "default": "8h"},
        "timeout": {"type": "int", "default": 60},
        **_AUTH,
    },
    "tenant_info": {"name": {"type": "str"}, **_AUTH},
}

_AUTOSCALE: Arguments = {
    "min": {"type": "int", "default": 1},
    "max": {"type": "int", "required": True},
    "cpu": {"type": "int"},
    "memory": {"type": "int"},
}

AUTH = _AUTH
PORT = _PORT
STACK = _STACK
TEMPLATE = _TEMPLATE
APP = _APP
# The modules that take a list of what they are for instead of one: the option with it, and what each entry takes.
LISTS: dict[str, tuple[str, Arguments]] = {
    "app": ("apps", _APP),
    "app_route": ("routes", _ROUTE),
    "tenant": ("tenants", _TENANT),
}
AUTOSCALE = _AUTOSCALE
RUN = tuple(_RUN)
SCHEDULE = tuple(_SCHEDULE)


def arguments(module: str) -> Arguments:
    """Return the options of a module: name to type, default, choices, options, no_log, env."""
    return _SPECS[module]


def from_environment(module: str, given: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the given options completed from K8S_AUTH_* variables (of this process when none are passed)."""
    variables = dict(os.environ) if environment is None else environment
    found = {
        name: variables[option["env"]]
        for name, option in _SPECS[module].items()
        if "env" in option and given.get(name) is None and variables.get(option["env"])
    }
    return {**given, **found}
