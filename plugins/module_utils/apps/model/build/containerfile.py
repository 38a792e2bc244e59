# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Containerfile of a build plan. Pure.

Words of commands are written as JSON, which no shell and no substitution reads; names of files are plain ones. So what
is in a source tree adds no instruction, option or command. Four kinds of stages: `assets-deps` and `deps` install from
mirrors, `assets` and `build` make the rest of it, `packages` has the Debian packages of the image, and the last stage
copies the results to it. Only `deps`, `assets-deps`, `packages` and steps marked so need a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from ansible_collections.cloudbang.platform.plugins.module_utils.findings import Finding
from ansible_collections.cloudbang.platform.plugins.module_utils.oci.references import well_formed
from ansible_collections.cloudbang.platform.plugins.module_utils.texts import shown

from ..labels import PREFIX
from ..options import Invalid, encodable
from .plan import APP, Output, Plan, Step
from .tree import joined, plain

USER = 10001
# Where tools find the credentials that a build has, by their kinds.
CREDENTIALS = {
    "composer": "/root/.config/composer/auth.json",
    "git-ssh": "/root/.ssh/id",
    "go": "/root/.config/go/env",
    "maven": "/root/.m2/settings.xml",
    "netrc": "/root/.netrc",
    "npm": "/root/.npmrc",
    "pip": "/root/.config/pip/pip.conf",
}
PLAN_LABEL = PREFIX + "plan"
# The longest line that builders read.
MAX_LINE = 60_000
_LABEL = re.compile(r"[a-z0-9]([a-z0-9./-]{0,126}[a-z0-9])?\Z")
_APT = (
    "/bin/sh",
    "-ec",
    'apt-get update && apt-get install --yes --no-install-recommends -- "$@" && rm -rf /var/lib/apt/lists/*',
    "apt",
)


def containerfile(
    plan: Plan, bases: Mapping[str, str], labels: Mapping[str, str] | None = None, credentials: Iterable[str] = ()
) -> str:
    """Return the text of the Containerfile.

    bases: the references of `plan.bases`. credentials: the names in CREDENTIALS of those that the build has. Raises
    Invalid for what cannot be in a Containerfile, and for a plan whose tree has a Containerfile of its own.
    """
    if plan.containerfile:
        raise Invalid([Finding("plan", f"a plan for {plan.containerfile}", "a plan without a Containerfile")])
    mounts = [
        f"--mount=type=secret,id={name},target={CREDENTIALS[name]}"
        for name in sorted(set(credentials))
        if _checked(name in CREDENTIALS, "credentials", name, "one of " + ", ".join(CREDENTIALS))
    ]
    lines = ["# Made by cloudbang.platform from the plan " + plan.digest]
    if plan.assets:
        assets = plan.assets
        lines += _stage(assets.base, "assets-deps", bases)
        lines += _install(plan, assets.manifests, assets.install, (), mounts)
        lines += ["FROM assets-deps AS assets", *_source(plan), *_steps(assets.build, plan, mounts)]
    lines += _stage(plan.build_base, "deps", bases)
    lines += _install(plan, plan.manifests, plan.install, plan.apt_build, mounts)
    lines += ["FROM deps AS build", *(_copy(["/app/"], "/app/", "--from=assets") if plan.assets else _source(plan))]
    lines += _steps(plan.build, plan, mounts)
    lines += _stage(plan.run_base, "packages", bases)
    lines += [_run((*_APT, *plan.apt_run))] if plan.apt_run else []
    lines += ["FROM packages", *(line for output in plan.outputs for line in _output(output))]
    lines += _configuration(plan, {PLAN_LABEL: plan.digest, **_base_labels(plan, bases), **(labels or {})})
    for line in lines:
        _checked(len(line) <= MAX_LINE and "\n" not in line, "plan", f"a line of {len(line)} characters", "a short one")
    return "\n".join(lines) + "\n"


def _checked(good: object, where: str, found: str, wanted: str) -> bool:
    if not good:
        raise Invalid([Finding(where, found, wanted)])
    return True


def _stage(base: str, name: str, bases: Mapping[str, str]) -> list[str]:
    image = bases.get(base, "")
    _checked(well_formed(image), f"bases.{base}", shown(image), "a reference of an image")
    return [f"FROM {image} AS {name}", f"WORKDIR {APP}"]


def _install(
    plan: Plan, manifests: Iterable[str], steps: Iterable[Step], packages: tuple[str, ...], mounts: list[str]
) -> list[str]:
    lines = [_run((*_APT, *packages))] if packages else []
    groups: dict[str, list[str]] = {}
    for path in manifests:
        if path.endswith("/"):
            groups[path] = [path]
        else:
            groups.setdefault(path.rpartition("/")[0] + "/" if "/" in path else "", []).append(path)
    for directory, paths in groups.items():
        places = [joined(plan.root, path.rstrip("/")) + ("/" if path.endswith("/") else "") for path in paths]
        lines += _copy(places, f"{APP}/{directory}" if directory not in ("", "./") else f"{APP}/")
    return lines + _steps(steps, plan, mounts)


def _source(plan: Plan) -> list[str]:
    return _copy([plan.root + "/"], APP + "/")


def _copy(paths: list[str], target: str, *flags: str) -> list[str]:
    for path in paths:
        (_absolute if flags else _path)(path)
    _absolute(target)
    return [" ".join(["COPY", *flags, _words([*paths, target])])]


def _path(path: str) -> str:
    """Return a relative path that needs no quotes anywhere. Raises Invalid for another one."""
    _checked(plain(path.removesuffix("/")), "plan", f"the path {shown(path)}", "letters, digits and _@+.-")
    return path


def _absolute(path: str) -> str:
    """Return an absolute path that needs no quotes anywhere. Raises Invalid for another one."""
    _checked(path[:1] == "/", "plan", f"the path {shown(path)}", "an absolute path")
    return "/" + _path(path[1:])


def _output(output: Output) -> list[str]:
    return _copy([output.source], output.target, "--from=build", f"--chown={USER}")


def _steps(steps: Iterable[Step], plan: Plan, mounts: list[str]) -> list[str]:
    lines = []
    place = "."
    for step in steps:
        if step.directory != place:
            place = step.directory
            lines.append(f"WORKDIR {APP}" if place == "." else f"WORKDIR {APP}/{_path(place)}")
        caches = [f"--mount=type=cache,target={_absolute(path)}" for path in step.caches]
        lines.append(_run(step.command, *caches, *(mounts if step.network else ())))
    # A stage that begins here expects to be in the root of the source.
    return lines + ([f"WORKDIR {APP}"] if place != "." else [])


def _run(words: Iterable[str], *flags: str) -> str:
    return " ".join(["RUN", *flags, _words(words)])


def _words(words: Iterable[str]) -> str:
    """Return words as JSON on one line, in which no builder sees a here-document, a variable or the end of a line."""
    given = list(words)
    for word in given:
        _checked(encodable(word) and "\0" not in word, "plan", f"the word {shown(word)}", "UTF-8 without zero bytes")
    return json.dumps(given, ensure_ascii=True).replace("<<", "\\u003c\\u003c").replace("\x7f", "\\u007f")


def _quoted(text: str) -> str:
    """Return a value of ENV or LABEL in quotes, as it is."""
    good = encodable(text) and not re.search(r"[\x00-\x1f\x7f]", text)
    _checked(good, "plan", f"the value {shown(text)}", "one line of printable UTF-8")
    escaped = re.sub(r'["\\$]', r"\\\g<0>", text)
    return f'"{escaped}"'


def _base_labels(plan: Plan, bases: Mapping[str, str]) -> dict[str, str]:
    return {PREFIX + name.replace("/", "-") + "-image": bases[name] for name in plan.bases}


def _configuration(plan: Plan, labels: Mapping[str, str]) -> list[str]:
    directory = plan.directory
    environment = {
        "PORT": str(plan.port),
        "HOME": APP,
        "LANG": "C.UTF-8",
        **dict(plan.environment),
    }
    for name in labels:
        _checked(_LABEL.match(name), "labels", shown(name), "names of lowercase letters, digits, . / and -")
    main = plan.main
    return [
        f"WORKDIR {APP}" if directory == "." else f"WORKDIR {APP}/{_path(directory)}",
        "ENV " + " ".join(f"{name}={_quoted(value)}" for name, value in environment.items()),
        "LABEL " + " ".join(f'"{name}"={_quoted(value)}' for name, value in sorted(labels.items())),
        f"USER {USER}",
        f"EXPOSE {plan.port}",
        "ENTRYPOINT " + _words(["/usr/bin/catatonit", "--"]),
        *(["CMD " + _words(main.argv)] if main else []),
    ]
