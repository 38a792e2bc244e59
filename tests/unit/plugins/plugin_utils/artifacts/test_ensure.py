# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import (
    ArtifactError,
    bundle,
    download,
    ensure,
    plan,
    recipes,
    store,
)

from .conftest import World, tar_of

TOOL = b"tool of upstream" * 100


def content(artifact: Any) -> bytes:
    return Path(artifact.path).read_bytes()


def test_upstream_files_and_archive_members(world: World) -> None:
    found = ensure(["two", "tool", "one"], world.settings(), world.progress)
    assert list(found) == ["two", "tool", "one"]
    assert content(found["tool"]) == TOOL
    assert content(found["one"]) == b"one of upstream"
    assert content(found["two"]) == b"two"
    assert {artifact.origin for artifact in found.values()} == {"upstream"}
    assert os.access(found["one"].path, os.X_OK)
    assert not os.access(found["two"].path, os.X_OK) or os.stat(found["two"].path).st_mode & 0o111 == 0
    assert all(artifact.created for artifact in found.values())
    assert world.built == []


def test_cached_means_no_request_and_no_message(world: World) -> None:
    ensure(["tool", "one"], world.settings(), world.progress)
    world.site.asked.clear()
    world.messages.clear()
    started = time.perf_counter()
    found = ensure(["tool", "one"], world.settings(source="auto"), world.progress)
    assert time.perf_counter() - started < 0.5
    assert not any(artifact.created for artifact in found.values())
    assert (world.site.asked, world.messages) == ([], [])


def test_what_has_no_upstream_is_built(world: World) -> None:
    found = ensure(["tool", "source-only"], world.settings(), world.progress)
    assert (found["tool"].origin, found["source-only"].origin) == ("upstream", "build")


def test_build_never_takes_foreign_binaries_from_the_cache(world: World) -> None:
    ensure(["tool"], world.settings())
    found = ensure(["tool"], world.settings(source="build"), world.progress)
    assert content(found["tool"]) == b"built tool 1.2.3"


def test_a_changed_recipe_builds_again(world: World) -> None:
    ensure(["tool"], world.settings(source="build"))
    ensure(["tool"], world.settings(source="build"))
    world.catalogue["components"]["tool"]["build"]["ldflags"] = ["-X a=b"]
    ensure(["tool"], world.settings(source="build"))
    assert world.built == ["tool", "tool"]


def test_versions_are_kept_apart(world: World) -> None:
    ensure(["tool"], world.settings(source="build"))
    found = ensure(["tool"], world.settings(source="build", versions={"tool": "v9.9"}))
    assert content(found["tool"]) == b"built tool 9.9"
    assert content(ensure(["tool"], world.settings(source="build"))["tool"]) == b"built tool 1.2.3"


def test_auto_takes_upstream_when_it_answers(world: World) -> None:
    found = ensure(["tool", "one"], world.settings(source="auto"), world.progress)
    assert {artifact.origin for artifact in found.values()} == {"upstream"}
    assert "source auto: upstream answers" in world.messages


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda site: site.files.clear(), "gives HTTP 404"),
        (lambda site: site.types.update({"/tool/1.2.3/tool-amd64.sha256": "text/html"}), "answers with an HTML page"),
    ],
)
def test_auto_builds_when_upstream_does_not_answer(world: World, spoil: Any, reason: str) -> None:
    spoil(world.site)
    found = ensure(["tool"], world.settings(source="auto"), world.progress)
    assert found["tool"].origin == "build"
    assert any(message.startswith("source auto: building") and reason in message for message in world.messages)


def test_auto_asks_for_what_a_component_without_upstream_is_made_of(world: World) -> None:
    world.catalogue["components"]["source-only"]["build"]["needs"] = ["tool"]
    del world.site.files["/tool/1.2.3/tool-amd64.sha256"]
    ensure(["source-only"], world.settings(source="auto"), world.progress)
    assert any(message.startswith("source auto: building") and "127.0.0.1" in message for message in world.messages)


def test_auto_builds_when_upstream_fails_later(world: World) -> None:
    del world.site.files["/tool/1.2.3/tool-amd64"]
    found = ensure(["tool"], world.settings(source="auto"), world.progress)
    assert found["tool"].origin == "build"
    assert any("building it instead" in message for message in world.messages)


def test_auto_does_not_hide_a_changed_file(world: World) -> None:
    ensure(["tool"], world.settings())
    store.remove_tree(str(world.root / "cache" / "refs"))
    world.site.put("/tool/1.2.3/tool-amd64", b"another tool")
    with pytest.raises(ArtifactError, match="published file was changed"):
        ensure(["tool"], world.settings(source="auto"), world.progress)


def upstream_failures() -> list[Any]:
    def wrong_checksum(world: World) -> None:
        world.site.files["/tool/1.2.3/tool-amd64.sha256"] = b"0" * 64

    def no_checksum(world: World) -> None:
        del world.site.files["/tool/1.2.3/tool-amd64.sha256"]

    def html_checksum(world: World) -> None:
        world.site.files["/tool/1.2.3/tool-amd64.sha256"] = b"<html>login</html>"

    def missing(world: World) -> None:
        del world.site.files["/tool/1.2.3/tool-amd64"]

    return [
        pytest.param(wrong_checksum, "found sha256 .* wanted sha256 0000", id="wrong-checksum"),
        pytest.param(no_checksum, "tool-amd64.sha256: found HTTP 404", id="no-checksum"),
        pytest.param(html_checksum, "an HTML page", id="html-checksum"),
        pytest.param(missing, "tool-amd64: found HTTP 404", id="missing"),
    ]


@pytest.mark.parametrize(("spoil", "message"), upstream_failures())
def test_upstream_failures_name_component_source_and_reason(world: World, spoil: Any, message: str) -> None:
    spoil(world)
    with pytest.raises(ArtifactError, match=message) as caught:
        ensure(["tool"], world.settings(), world.progress)
    assert str(caught.value).startswith("tool 1.2.3 (tool-amd64) from upstream http://127.0.0.1")
    assert os.listdir(world.root / "cache" / "work") == []
    assert world.built == []


def test_all_failures_are_reported_and_the_rest_is_kept(world: World) -> None:
    del world.site.files["/tool/1.2.3/tool-amd64"]
    world.site.put("/pack/pack-2.0.tgz", tar_of({"pack-2.0/README": b"no programs"}))
    with pytest.raises(ArtifactError) as caught:
        ensure(["tool", "one", "source-only"], world.settings(), world.progress)
    assert "2 components" in str(caught.value)
    assert "tool-amd64: found HTTP 404" in str(caught.value)
    assert "an archive without pack-2.0/bin/one" in str(caught.value)
    assert plan(["source-only"], world.settings())["source-only"].cached


def test_a_broken_archive_is_named(world: World) -> None:
    world.site.put("/pack/pack-2.0.tgz", b"\x1f\x8b not an archive")
    with pytest.raises(ArtifactError, match="wanted a readable tar archive"):
        ensure(["one"], world.settings())


def test_upstream_is_recorded_and_enforced(world: World) -> None:
    lock = world.root / "site" / "artifacts.lock.yml"
    ensure(["tool", "one"], world.settings(lock_file=str(lock)))
    data = yaml.safe_load(lock.read_text())
    assert set(data["files"]) == {"tool/1.2.3/amd64/tool", "pack/2.0/amd64/one", "pack/2.0/amd64/two"}
    assert set(data["assets"]) == {world.site.url + "/tool/1.2.3/tool-amd64", world.site.url + "/pack/pack-2.0.tgz"}
    world.site.put("/tool/1.2.3/tool-amd64", b"changed, with a checksum file that fits")
    with pytest.raises(ArtifactError, match=r"recorded in .*artifacts\.lock\.yml"):
        ensure(["tool"], world.settings(cache_dir=str(world.root / "other"), lock_file=str(lock)))


def test_a_project_without_checksums_is_trusted_once(world: World) -> None:
    del world.catalogue["components"]["tool"]["upstream"]["checksum"]
    ensure(["tool"], world.settings(), world.progress)
    assert any("publishes no checksum; recorded sha256" in message for message in world.messages)
    store.remove_tree(str(world.root / "cache" / "refs"))
    world.site.put("/tool/1.2.3/tool-amd64", b"changed")
    with pytest.raises(ArtifactError, match="wanted sha256"):
        ensure(["tool"], world.settings(), world.progress)


def test_plan_says_what_would_come_from_where_and_does_nothing(world: World) -> None:
    ensure(["tool"], world.settings())
    world.site.asked.clear()
    planned = plan(["tool", "one", "source-only"], world.settings())
    assert [(item.name, item.cached, item.origin) for item in planned.values()] == [
        ("tool", True, "upstream"),
        ("one", False, "upstream"),
        ("source-only", False, "build"),
    ]
    assert plan(["one"], world.settings(source="auto"))["one"].origin is None
    assert (world.site.asked, world.built) == ([], [])


def test_a_program_that_another_is_made_of_is_made_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(ctx: recipes.Context) -> dict[str, str]:
        path = Path(ctx.work) / "composed"
        path.write_bytes(b"with " + Path(ctx.need(["tool"])["tool"].path).read_bytes()[:4])
        return {"composed": str(path)}

    monkeypatch.setitem(recipes.RECIPES, "compose", build)
    world.catalogue["components"]["composed"] = {
        "version": "1",
        "files": {"composed": {}},
        "build": {"kind": "compose", "needs": ["tool"]},
    }
    assert content(ensure(["composed"], world.settings(source="build"))["composed"]) == b"with buil"
    world.catalogue["components"]["tool"]["build"]["tags"] = "new"
    ensure(["composed"], world.settings(source="build"))
    assert world.built == ["tool", "tool"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ({"kind": "magic"}, "recipe kind 'magic'; wanted one of"),
        ({"kind": "nothing"}, "made no tool"),
        ({"kind": "failing"}, "exit code 3: reason on the last line; wanted exit code 0"),
    ],
)
def test_recipes_that_fail_are_named(
    world: World, monkeypatch: pytest.MonkeyPatch, build: dict[str, str], message: str
) -> None:
    def failing(ctx: recipes.Context) -> dict[str, str]:
        ctx.run(["sh", "-c", "echo reason on the last line; exit 3"])
        return {}

    monkeypatch.setitem(recipes.RECIPES, "nothing", lambda ctx: {})
    monkeypatch.setitem(recipes.RECIPES, "failing", failing)
    world.catalogue["components"]["tool"]["build"] = build
    with pytest.raises(ArtifactError, match=message):
        ensure(["tool"], world.settings(source="build"))


def test_a_function_of_the_collection_can_be_a_recipe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def function(ctx: recipes.Context) -> dict[str, str]:
        path = Path(ctx.work) / "x"
        path.write_bytes(b"by function")
        return {"source-only": str(path)}

    monkeypatch.setattr(recipes, "_by_function", function, raising=False)
    world.catalogue["components"]["source-only"]["build"] = {
        "kind": "rootfs-image",
        "function": recipes.__name__ + ":_by_function",
    }
    assert content(ensure(["source-only"], world.settings())["source-only"]) == b"by function"


def test_callers_side_by_side_build_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    original = recipes.RECIPES["test"]

    def slow(ctx: recipes.Context) -> dict[str, str]:
        time.sleep(0.3)
        return original(ctx)

    monkeypatch.setitem(recipes.RECIPES, "test", slow)
    settings = world.settings(source="build")
    threads = [threading.Thread(target=ensure, args=(["tool", "one"], settings)) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(world.built) == ["pack", "tool"]


@pytest.fixture
def mirror(world: World) -> Path:
    root = world.root / "mirror"
    found = ensure(["tool", "one", "source-only"], world.settings())
    written = bundle(str(root), found.values(), world.settings(), world.progress)
    assert written == [
        "tool/1.2.3/amd64/tool",
        "pack/2.0/amd64/one",
        "source-only/5/amd64/source-only",
        "manifest.json",
    ]
    return root


def manifest_of(mirror: Path) -> str:
    return hashlib.sha256((mirror / "manifest.json").read_bytes()).hexdigest()


def serve(world: World, mirror: Path) -> str:
    for path in mirror.rglob("*"):
        if path.is_file():
            world.site.put("/m/" + str(path.relative_to(mirror)), path.read_bytes(), checksum=False)
    return world.site.url + "/m/"


@pytest.mark.parametrize("how", ["directory", "file-url", "http"])
def test_a_mirror_gives_the_same_files(world: World, mirror: Path, how: str) -> None:
    served = serve(world, mirror)
    where = {"directory": str(mirror), "file-url": f"file://{mirror}/", "http": served}[how]
    pinned = manifest_of(mirror).upper() if how == "http" else ""
    changes = {"source": "mirror", "mirror": where, "mirror_sha256": pinned, "cache_dir": str(world.root / "other")}
    found = ensure(["tool", "one", "source-only"], world.settings(**changes), world.progress)
    assert content(found["tool"]) == TOOL
    assert {artifact.origin for artifact in found.values()} == {"mirror"}
    assert [artifact.made for artifact in found.values()] == ["upstream", "upstream", "build"]
    assert os.access(found["one"].path, os.X_OK)


def test_a_mirror_is_written_once(world: World, mirror: Path) -> None:
    found = ensure(["tool", "one"], world.settings())
    assert bundle(str(mirror), found.values(), world.settings()) == []
    (mirror / "tool/1.2.3/amd64/tool").write_bytes(b"damaged")
    assert bundle(str(mirror), found.values(), world.settings()) == ["tool/1.2.3/amd64/tool"]
    listed = json.loads((mirror / "manifest.json").read_text())["files"]
    assert set(listed) == {"tool/1.2.3/amd64/tool", "pack/2.0/amd64/one", "source-only/5/amd64/source-only"}
    assert listed["tool/1.2.3/amd64/tool"]["made"] == "upstream"


def mirror_failures() -> list[Any]:
    def no_manifest(root: Path) -> None:
        (root / "manifest.json").unlink()

    def other_manifest(root: Path) -> None:
        (root / "manifest.json").write_text("<html></html>")

    def damaged(root: Path) -> None:
        (root / "tool/1.2.3/amd64/tool").write_bytes(b"damaged")

    def lost(root: Path) -> None:
        (root / "tool/1.2.3/amd64/tool").unlink()

    def not_listed(root: Path) -> None:
        data = json.loads((root / "manifest.json").read_text())
        data["files"]["tool/1.0.0/amd64/tool"] = data["files"].pop("tool/1.2.3/amd64/tool")
        (root / "manifest.json").write_text(json.dumps(data))

    return [
        pytest.param(no_manifest, "manifest.json: found .*No such file", id="no-manifest"),
        pytest.param(other_manifest, "wanted the manifest of a mirror", id="other-manifest"),
        pytest.param(damaged, r"found sha256 .* \(7 bytes\); wanted sha256 .* \(1600 bytes\)", id="damaged"),
        pytest.param(lost, "wanted the file that the manifest lists", id="lost"),
        pytest.param(not_listed, r"no tool/1\.2\.3/amd64/tool \(it has tool 1\.0\.0\)", id="not-listed"),
    ]


@pytest.mark.parametrize(("spoil", "message"), mirror_failures())
def test_mirror_failures_name_component_and_reason(world: World, mirror: Path, spoil: Any, message: str) -> None:
    spoil(mirror)
    settings = world.settings(source="mirror", mirror=str(mirror), cache_dir=str(world.root / "other"))
    with pytest.raises(ArtifactError, match=message) as caught:
        ensure(["tool"], settings)
    assert "tool" in str(caught.value)
    assert "from mirror " + str(mirror) in str(caught.value)


def swap(mirror: Path, path: str, data: bytes, made: str | None) -> None:
    """Exchange a file of a mirror, as who holds it can: with its sum, and with what the manifest says of its origin."""
    (mirror / path).write_bytes(data)
    manifest = json.loads((mirror / "manifest.json").read_text())
    entry = manifest["files"][path]
    entry.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    if made is None:
        del entry["made"]
    else:
        entry["made"] = made
    (mirror / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("made", ["upstream", "build", "", None])
def test_a_mirror_cannot_replace_what_upstream_published(world: World, mirror: Path, made: str | None) -> None:
    swap(mirror, "tool/1.2.3/amd64/tool", b"swapped", made)
    lock = str(world.root / "cache" / "artifacts.lock.yml")
    settings = world.settings(source="mirror", mirror=str(mirror), cache_dir=str(world.root / "other"), lock_file=lock)
    with pytest.raises(ArtifactError, match="recorded in"):
        ensure(["tool"], settings)


@pytest.mark.parametrize(
    ("name", "path"),
    [("tool", "tool/1.2.3/amd64/tool"), ("source-only", "source-only/5/amd64/source-only")],
)
def test_a_mirror_cannot_replace_what_it_has_given(world: World, mirror: Path, name: str, path: str) -> None:
    lock = str(world.root / "own.lock.yml")
    settings = world.settings(source="mirror", mirror=str(mirror), cache_dir=str(world.root / "other"), lock_file=lock)
    ensure([name], settings)
    recorded = yaml.safe_load(Path(lock).read_text())
    assert list(recorded["mirror"]) == [path] and not recorded["files"]
    swap(mirror, path, b"swapped", "build")
    fresh = world.settings(source="mirror", mirror=str(mirror), cache_dir=str(world.root / "fresh"), lock_file=lock)
    with pytest.raises(ArtifactError, match=r"recorded in .*section mirror of the lock file"):
        ensure([name], fresh)


def test_the_lock_file_holds_for_what_is_cached_already(world: World, mirror: Path) -> None:
    swap(mirror, "tool/1.2.3/amd64/tool", b"swapped", "build")
    other = {"source": "mirror", "mirror": str(mirror), "cache_dir": str(world.root / "other")}
    assert content(ensure(["tool"], world.settings(**other))["tool"]) == b"swapped"
    lock = str(world.root / "cache" / "artifacts.lock.yml")
    for act in (ensure, plan):
        with pytest.raises(ArtifactError, match="recorded in"):
            act(["tool"], world.settings(**other, lock_file=lock))


@pytest.mark.parametrize("how", ["directory", "http"])
def test_a_pinned_mirror_has_that_manifest_and_no_other(world: World, mirror: Path, how: str) -> None:
    pinned = manifest_of(mirror)
    swap(mirror, "source-only/5/amd64/source-only", b"swapped", "build")
    where = str(mirror) if how == "directory" else serve(world, mirror)
    other = world.settings(source="mirror", mirror=where, mirror_sha256=pinned, cache_dir=str(world.root / "other"))
    with pytest.raises(ArtifactError, match=rf"wanted sha256 {pinned}, as artifacts_mirror_sha256 says"):
        ensure(["source-only"], other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mirror": "http://mirror.example.org/"}, r"artifacts_mirror_sha256: found nothing, and http://mirror"),
        ({"mirror": "HTTP://mirror.example.org/"}, r"artifacts_mirror_sha256: found nothing"),
        ({"mirror": "https://x", "mirror_sha256": "abc"}, r"found 'abc'; wanted 64 hexadecimal digits"),
    ],
)
def test_a_mirror_without_encryption_is_pinned(world: World, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        world.settings(source="mirror", **changes)
    assert world.settings(source="mirror", mirror="https://mirror.example.org").mirror_sha256 == ""


def test_a_mirror_sends_no_more_than_it_lists(world: World, mirror: Path) -> None:
    where = serve(world, mirror)
    changes = {"source": "mirror", "mirror": where, "mirror_sha256": manifest_of(mirror)}
    world.site.files["/m/tool/1.2.3/amd64/tool"] += b"x" * (4 << 20)
    with pytest.raises(ArtifactError, match=r"found more than 1600 bytes; wanted 1600 bytes"):
        ensure(["tool"], world.settings(**changes, cache_dir=str(world.root / "other")))
    assert not any(path.stat().st_size > 1600 for path in (world.root / "other").rglob("*") if path.is_file())


def test_a_download_without_end_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.BytesIO):
        status, headers, reads = 200, {"Content-Type": "application/octet-stream"}, 0

        def read(self, size: int | None = -1) -> bytes:
            Endless.reads += 1
            assert Endless.reads < 10
            return b"x" * 4096

    monkeypatch.setattr(download, "open_http", lambda *_arguments: Endless())
    cache = store.Store(str(world.root / "other"))
    with pytest.raises(ArtifactError, match=r"found more than 5000 bytes; wanted 5000 bytes"):
        download.download(cache, "http://x", "0" * 64, "/none", "x", "mirror", world.progress, 5000)
    assert Endless.reads == 2


def test_writing_a_mirror_tells_the_sum_that_pins_it(world: World, mirror: Path) -> None:
    assert f"sites that use this mirror set artifacts_mirror_sha256: {manifest_of(mirror)}" in world.messages
