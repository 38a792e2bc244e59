# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a real module of two packages from a module proxy that is a directory."""

from __future__ import annotations

import io
import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import ArtifactError, ensure, gobuild
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts.store import Store

from .conftest import World

MODULE = "example.invalid/hello/v2"
MAIN = 'package main\n\nvar version = "none"\n\nfunc main() { println("hello", version) }\n'
TOOLCHAIN = {
    "go": {
        "minimum": "1.21",
        "version": "1.99.0",
        "sums": {},
        "wheel": "no-such-wheel",
        "wheel_version": "1.26.6",
        "sha256": [],
    }
}


def has_go() -> bool:
    try:
        gobuild.find_go(
            Store("/nonexistent"), {"go": dict(TOOLCHAIN["go"], wheel_version="0")}, "amd64", lambda message: None
        )
    except (ArtifactError, OSError):
        return False
    return True


needs_go = pytest.mark.skipif(not has_go(), reason="no Go toolchain on this host")


def publish(root: Path, version: str, go_mod: str, files: dict[str, str], module: str = MODULE) -> None:
    directory = root / "proxy" / module / "@v"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{version}.info").write_text(json.dumps({"Version": version}))
    (directory / f"{version}.mod").write_text(go_mod)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in {"go.mod": go_mod, "go.sum": "", **files}.items():
            archive.writestr(f"{module}@{version}/{name}", text)
    (directory / f"{version}.zip").write_bytes(out.getvalue())


@pytest.fixture
def go_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    files = {"cmd/hello/main.go": MAIN, "main.go": MAIN, "crds/b.yaml": "b: 1\n", "crds/a.yaml": "---\na: 1\n"}
    publish(world.root, "v2.0.1", f"module {MODULE}\n\ngo 1.21\n", files)
    monkeypatch.setenv("GOPROXY", f"file://{world.root}/proxy")
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOMODCACHE", str(world.root / "modules"))
    world.catalogue["toolchain"] = TOOLCHAIN
    return world


def component(kind: str, **build: Any) -> dict[str, Any]:
    return {"version": "2.0.1", "files": {"hi": {"package": f"{MODULE}/cmd/hello"}}, "build": {"kind": kind, **build}}


@needs_go
def test_a_wrapper_builds_with_version_and_checksums(go_world: World) -> None:
    go_world.catalogue["components"] = {
        "hi": component("go-wrapper", modules={MODULE: "v{version}"}, ldflags=["-X main.version=v{version}"])
    }
    found = ensure(["hi"], go_world.settings(source="build"), go_world.progress)
    done = subprocess.run([found["hi"].path], capture_output=True, text=True, check=True)
    assert done.stderr == "hello v2.0.1\n"
    assert any(message.startswith("built hi 2.0.1 in ") for message in go_world.messages)


@needs_go
def test_a_module_builds_in_place_and_its_data_files_are_joined(go_world: World) -> None:
    build = {"module": MODULE, "module_version": "v{version}"}
    program = component("go-module", **build)
    program["files"] = {"hi": {"package": "./cmd/hello"}}
    data = component("module-files", member="crds/*.yaml", **build)
    data["files"] = {"crds": {"kind": "data"}}
    go_world.catalogue["components"] = {"hi": program, "crds": data}
    found = ensure(["hi", "crds"], go_world.settings(source="build"))
    assert subprocess.run([found["hi"].path], capture_output=True, check=True).stderr == b"hello none\n"
    assert Path(found["crds"].path).read_text() == "---\na: 1\n---\nb: 1\n"


@needs_go
def test_changed_source_is_refused(go_world: World) -> None:
    sums = {f"{MODULE}@v2.0.1": "h1:not-what-the-proxy-serves="}
    go_world.catalogue["components"] = {"hi": component("go-wrapper", modules={MODULE: "v{version}"}, sums=sums)}
    with pytest.raises(ArtifactError, match=r"found checksum h1:.*; wanted checksum h1:not-what"):
        ensure(["hi"], go_world.settings(source="build"))


@needs_go
def test_a_missing_version_names_the_proxy(go_world: World) -> None:
    go_world.catalogue["components"] = {"hi": component("go-wrapper", modules={MODULE: "v{version}"})}
    with pytest.raises(ArtifactError, match=r"hi 2\.9\.9 from build go mod download .*GOPROXY"):
        ensure(["hi"], go_world.settings(source="build", versions={"hi": "2.9.9"}))


@needs_go
def test_a_compiler_error_is_shown_with_the_log(go_world: World) -> None:
    publish(
        go_world.root,
        "v2.0.2",
        f"module {MODULE}\n\ngo 1.21\n",
        {"cmd/hello/main.go": MAIN + "func x() { undefined() }"},
    )
    go_world.catalogue["components"] = {"hi": component("go-wrapper", modules={MODULE: "v{version}"})}
    with pytest.raises(
        ArtifactError, match=r"(?s)hi 2\.0\.2 from build go build .*undefined: undefined.*hi-2\.0\.2\.log"
    ):
        ensure(["hi"], go_world.settings(source="build", versions={"hi": "2.0.2"}))


def toolchain(world: World, sum_: str) -> dict[str, Any]:
    """Publish a Go of a later version, which says its name. Returns the catalogue's entry that asks for it."""
    says = "#!/bin/sh\necho the Go of the proxy\n"
    for arch in ("amd64", "arm64"):
        version = f"v0.0.1-go1.99.0.linux-{arch}"
        publish(world.root, version, "module golang.org/toolchain\n", {"bin/go": says}, "golang.org/toolchain")
    return {"go": {**TOOLCHAIN["go"], "minimum": "1.99.0", "sums": {"amd64": sum_, "arm64": sum_}}}


@needs_go
def test_an_older_go_fetches_the_one_that_is_wanted(go_world: World) -> None:
    entry = toolchain(go_world, "h1:not-this-one=")
    store = Store(str(go_world.root / "cache"))
    with pytest.raises(
        ArtifactError, match=r"go 1\.99\.0 from build .*found checksum h1:.*wanted checksum h1:not"
    ) as error:
        gobuild.find_go(store, entry, "amd64", go_world.progress)
    found = re.search(r"found checksum (h1:\S+=)", str(error.value))
    assert found is not None
    (refused,) = (go_world.root / "modules").glob("golang.org/toolchain@*/bin/go")
    assert not refused.stat().st_mode & 0o111
    # Only that of this machine is asked for.
    entry["go"]["sums"] = dict.fromkeys(("amd64", "arm64"), found[1])
    binary = gobuild.find_go(store, entry, "amd64", go_world.progress).binary
    assert subprocess.run([binary], capture_output=True, check=True, text=True).stdout == "the Go of the proxy\n"


@needs_go
def test_a_go_that_cannot_be_had_says_what_to_install(go_world: World) -> None:
    entry = {"go": {**TOOLCHAIN["go"], "minimum": "1.98.0", "version": "1.98.0"}}
    with pytest.raises(ArtifactError, match=r"(?s)go 1\.98\.0 from build .*wanted checksum .*Install Go 1\.98\.0"):
        gobuild.find_go(Store(str(go_world.root / "cache")), entry, "amd64", go_world.progress)


def test_no_toolchain_names_what_was_tried(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gobuild.shutil, "which", lambda name: None)
    monkeypatch.setattr(gobuild, "_GO_PLACES", ())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    world.catalogue["toolchain"] = TOOLCHAIN
    world.catalogue["components"] = {"hi": component("go-wrapper", modules={MODULE: "v{version}"})}
    with pytest.raises(
        ArtifactError, match=r"(?s)go 1\.26\.6 from build .* pip download .*no-such-wheel.*Install Go 1\.21"
    ):
        ensure(["hi"], world.settings(source="build"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("go1.26.8", (1, 26, 8)), ("1.26", (1, 26)), ("go1.27-devel_abc123", (1, 27)), ("", ()), ("go1.9", (1, 9))],
)
def test_go_versions(text: str, wanted: tuple[int, ...]) -> None:
    assert gobuild.version_tuple(text) == wanted


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"package": "./cmd/crane"}, "crane"),
        ({"package": "go.etcd.io/etcd/etcdctl/v3"}, "etcdctl"),
        ({"package": "go.etcd.io/etcd/server/v3", "output": "server"}, "server"),
        ({"package": "."}, ""),
    ],
)
def test_names_of_built_programs(options: dict[str, str], wanted: str) -> None:
    assert gobuild.output_name(options) == wanted
