# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: which faults count, what an exception is worth, and what data of a stranger can do."""

from __future__ import annotations

import datetime
import importlib.util
import json
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DAY = datetime.date(2026, 11, 27)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "tests" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit"] = module
    spec.loader.exec_module(module)
    return module


audit = load()


def fault(**changed: Any) -> Any:
    values = {
        "component": "traefik",
        "version": "3.6.7",
        "fault": "GO-2026-5760",
        "aliases": ("CVE-2026-41174", "GHSA-xhjw-95fp-8vgq"),
        "where": "github.com/traefik/traefik/v3",
        "fixed": "3.6.14",
        "reach": audit.MODULE_LEVEL,
    }
    return audit.Fault(**{**values, **changed})


def record(name: str = "GO-2026-1", module: str = "example.org/m", **changed: Any) -> dict[str, Any]:
    events = changed.pop("events", [{"introduced": "0"}, {"fixed": "1.2.0"}])
    affected = {"package": {"name": module, "ecosystem": "Go"}, "ranges": [{"type": "SEMVER", "events": events}]}
    if "imports" in changed:
        affected["ecosystem_specific"] = {"imports": changed.pop("imports")}
    return {"id": name, "modified": "2026-01-01T00:00:00Z", "aliases": [], "affected": [affected], **changed}


@pytest.mark.parametrize(
    ("versions", "version", "wanted"),
    [
        ("0..1.2.0", "1.1.9", True),
        ("0..1.2.0", "1.2.0", False),
        ("0..1.2.0", "1.2.0-rc.1", True),
        ("0..1.2.0", "v1.10.0", False),
        ("1.1.0..1.1.5,1.2.0..1.2.3", "1.0.9", False),
        ("1.1.0..1.1.5,1.2.0..1.2.3", "1.1.7", False),
        ("1.1.0..1.1.5,1.2.0..1.2.3", "1.2.2", True),
        ("1.3.0..", "3.0", True),
        ("0..1.11.0-a.0.20260417001138-cd73bc2cea0f", "v1.11.0-a.0.20250813170300-a0db560f0520", True),
        ("0..1.11.0-a.0.20260417001138-cd73bc2cea0f", "v1.11.0-a.0.20260813170300-a0db560f0520", False),
        ("1.27.0-0..1.27.3", "1.27.0-rc.1", True),
    ],
)
def test_versions_in_a_range(versions: str, version: str, wanted: bool) -> None:
    events = []
    for part in versions.split(","):
        introduced, fixed = part.split("..")
        events += [{"introduced": introduced}] + ([{"fixed": fixed}] if fixed else [])
    assert audit.covered(events, audit.semver, audit.semver(version)) is wanted


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("net/http.(*Server).Serve", "net/http.Server.Serve"),
        ("net/http.Header.Get", "net/http.Header.Get"),
        ("net/http.(*Server).Serve.func1", "net/http.Server.Serve"),
        ("net/http.(*Server).Serve.gowrap2", "net/http.Server.Serve"),
        ("net/http.(*Server).Serve-fm", "net/http.Server.Serve"),
        ("gopkg.in/yaml%2ev3.Unmarshal", "gopkg.in/yaml.v3.Unmarshal"),
        ("slices.Sort[go.shape.[]int,go.shape.int]", "slices.Sort"),
        ("a/b.(*Set[go.shape.string]).Add", "a/b.Set.Add"),
        ("a/b.function", "a/b.function"),
    ],
)
def test_function_names(name: str, wanted: str) -> None:
    assert audit.plain(name) == wanted


LINKED = {"a/b.Type.Method", "a/b/deeper.Only", "main.Run"}


@pytest.mark.parametrize(
    ("imports", "linked", "wanted"),
    [
        ([{"path": "a/b", "symbols": ["Other", "Type.Method"]}], LINKED, "a/b.Type.Method"),
        ([{"path": "a/b", "symbols": ["Other"]}], LINKED, None),
        ([{"path": "a/b"}], LINKED, "a/b"),
        ([{"path": "a"}], LINKED, None),
        ([{"path": "c"}, {"path": "a/b"}], LINKED, "a/b"),
        ([{"path": "a/b", "goos": ["windows"]}], LINKED, None),
        ([{"path": "a/b", "goos": ["windows", "linux"]}], LINKED, "a/b"),
        ([{"path": "a/cmd/x", "symbols": ["Run"]}], LINKED, "a/cmd/x.Run"),
        # What cannot be known counts.
        ([], LINKED, audit.MODULE_LEVEL),
        ([{"path": "a/b", "symbols": ["Other"]}], set(), audit.MODULE_LEVEL),
    ],
)
def test_reach(imports: list[dict[str, Any]], linked: set[str], wanted: str | None) -> None:
    assert audit.reach(record(imports=imports)["affected"], linked, "a/cmd/x") == wanted


@pytest.mark.skipif(not shutil.which("go"), reason="no Go on this host")
def test_functions_of_a_stripped_program(tmp_path: Path) -> None:
    code = (
        'package main\n\nimport "strings"\n\ntype T struct{ n int }\n\nfunc (t *T) Small() int { return t.n + 1 }\n\n'
        'func unused() {}\n\nfunc main() { t := &T{len(strings.ToUpper("a"))}; println(t.Small()) }\n'
    )
    (tmp_path / "main.go").write_text(code)
    (tmp_path / "go.mod").write_text("module example.invalid/audited\n\ngo 1.21\n")
    subprocess.run(["go", "build", "-ldflags=-s -w", "-o", "program", "."], cwd=tmp_path, check=True)
    program = (tmp_path / "program").read_bytes()
    linked = audit.functions(program)
    # The compiler puts the method into main, and its name stays.
    assert {"main.main", "main.T.Small", "strings.ToUpper"} <= linked
    assert "main.unused" not in linked
    assert "strings.EqualFold" not in linked
    assert audit.main_package(program) == "example.invalid/audited"
    assert audit.functions(program[:2000]) == set()
    assert audit.functions(b"\x7fELF" + audit.PCLNTAB + b"\x01\x08" + b"\xff" * 100) == set()
    # Bytes that look like the table hide nothing.
    lookalike = audit.PCLNTAB + b"\x01\x08" + struct.pack("<5Q", 1, 1, 0, 48, 60) + b"path\tnot/it\n\0some.Name\0"
    assert audit.functions(lookalike + program) == linked
    assert audit.main_package(lookalike + program) == "example.invalid/audited"


def test_a_scan_counts_what_is_linked_once() -> None:
    records = [
        record("GO-2026-1", imports=[{"path": "example.org/m/p", "symbols": ["F"]}], aliases=["CVE-2026-1"]),
        record("GO-2026-2", imports=[{"path": "example.org/m/p", "symbols": ["Not"]}]),
        record("GO-2026-3", "stdlib", imports=[{"path": "net/http", "symbols": ["Get"]}]),
        record("GO-2026-4", withdrawn="2026-02-01T00:00:00Z"),
    ]
    findings = [
        ("GO-2026-1", "v1.2.0", "example.org/m", "v1.1.0"),
        ("GO-2026-1", "v1.2.0", "example.org/m", "v1.1.0"),
        ("GO-2026-2", "v1.2.0", "example.org/m", "v1.1.0"),
        ("GO-2026-3", "v1.26.9", "stdlib", "v1.26.8"),
        ("GO-2026-4", "v1.2.0", "example.org/m", "v1.1.0"),
    ]
    lines: list[dict[str, Any]] = [{"config": {}}, *({"osv": one} for one in records)]
    for name, fixed, module, version in findings:
        trace = [{"module": module, "version": version}]
        lines.append({"finding": {"osv": name, "fixed_version": fixed, "trace": trace}})
    output = "\n".join(json.dumps(line, indent=2) for line in lines)
    found, unused = audit.of_scan(output, "kubelet", "1.36.5", {"example.org/m/p.F", "net/http.Get"}, "k8s.io/kubelet")
    assert [(one.component, one.version, one.fault, one.fixed, one.reach) for one in audit.merged(found)] == [
        ("go", "1.26.8", "GO-2026-3", "1.26.9", "net/http.Get"),
        ("kubelet", "1.36.5", "GO-2026-1", "1.2.0", "example.org/m/p.F"),
    ]
    assert unused == 1


def component(**build: Any) -> Any:
    return audit.Component("it", "1.1.0", "amd64", {}, None, {"kind": "go-module", "module": "example.org/m", **build})


@pytest.mark.parametrize(
    ("build", "one", "programs", "wanted"),
    [
        ({}, record(), [], [audit.MODULE_LEVEL]),
        ({}, record(events=[{"introduced": "1.1.1"}]), [], []),
        ({}, record(withdrawn="2026-02-01T00:00:00Z"), [], []),
        ({}, record(imports=[{"path": "example.org/m/p"}]), [({"example.org/m/p.F"}, "")], ["example.org/m/p"]),
        ({}, record(imports=[{"path": "example.org/m/p"}]), [({"example.org/m/q.F"}, "")], []),
        ({}, record(imports=[{"path": "example.org/m/p"}]), [], [audit.MODULE_LEVEL]),
        # The database knows the faults of a module without tags by commits, which sort below every tag.
        (
            {"module_versions": {"1.1.0": "v0.9.0-a.0.20250813170300-a0db560f0520"}},
            record(events=[{"introduced": "0"}, {"fixed": "0.9.0-a.0.20260417001138-cd73bc2cea0f"}]),
            [],
            [audit.MODULE_LEVEL],
        ),
        ({"kind": "go-wrapper", "modules": {"example.org/m": "v1.1.0"}}, record(), [], [audit.MODULE_LEVEL]),
        ({"kind": "image-binary"}, record(), [], []),
    ],
)
def test_the_source_of_a_component(build: dict[str, Any], one: Any, programs: list[Any], wanted: list[str]) -> None:
    found = audit.of_source(component(**build), {one["id"]: one}, {"example.org/m": [one["id"]]}, programs)
    assert [item.reach for item in found] == wanted


def python_record(**changed: Any) -> dict[str, Any]:
    events = [{"introduced": "2.0"}, {"fixed": "2.6.1"}]
    affected = {
        "package": {"name": "Some_Package", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    return {"id": "PYSEC-2026-1", "modified": "2026-01-01", "affected": [{**affected, **changed}]}


@pytest.mark.parametrize(
    ("changed", "version", "wanted"),
    [
        ({}, "2.6", ["2.6.1"]),
        ({}, "2.6.1", []),
        ({}, "2.6.1rc1", ["2.6.1"]),
        ({}, "1.26.20", []),
        ({}, "2.10", []),
        ({"ranges": [], "versions": ["2.6", "2.5"]}, "2.6", [""]),
        ({"ranges": [], "versions": ["2.6", "2.5"]}, "2.7", []),
        ({"package": {"name": "some-package", "ecosystem": "npm"}}, "2.6", []),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, "2.6", []),
    ],
)
def test_python_packages(changed: dict[str, Any], version: str, wanted: list[str]) -> None:
    found = audit.of_python([("some-package", version)], [python_record(**changed)], "requirements.lock")
    assert [one.fixed for one in found] == wanted


def test_the_locked_packages_are_read() -> None:
    text = "# no==1\nansible==10.7.0 ; python_version < '3.11' \\\n    --hash=sha256:00\nansible==12.3.0 \\\n  # x==2\n"
    assert audit.requirements(text) == [("ansible", "10.7.0"), ("ansible", "12.3.0")]
    locked = (ROOT / "requirements.lock").read_text()
    assert len(audit.requirements(locked)) == sum("==" in line and line[0] not in " #" for line in locked.splitlines())


def test_the_packages_of_an_image_are_read() -> None:
    catalogue = audit.Catalogue(audit.DEFAULT_CATALOGUE, {}, "amd64")
    pins = dict(audit.catalogue_pins(catalogue.component("image-httpbin")))
    assert pins["httpbin"] == catalogue.version("image-httpbin")
    assert {"flask", "gunicorn", "setuptools", "flasgger"} <= set(pins)


EXCEPTION = {"component": "traefik", "faults": ["CVE-2026-41174"], "why": "not used here", "until": DAY}


@pytest.mark.parametrize(
    ("changed", "day", "good", "word"),
    [
        ({}, DAY, True, f"until {DAY}: not used here"),
        ({}, DAY + datetime.timedelta(days=1), False, f"EXCEPTION ENDED {DAY}"),
        ({"faults": ["GO-2026-5760"]}, DAY, True, f"until {DAY}: not used here"),
        ({"faults": ["GO-2026-9999"]}, DAY, False, "FAULT"),
        ({"component": "etcd"}, DAY, False, "FAULT"),
    ],
)
def test_exceptions(changed: dict[str, Any], day: datetime.date, good: bool, word: str) -> None:
    exceptions = audit.exemptions(yaml.safe_dump([{**EXCEPTION, **changed}]), "exceptions")
    rows, well = audit.judge([fault()], exceptions, day)
    assert (rows, well) == ([(fault(), word)], good)


@pytest.mark.parametrize(
    "changed",
    [
        {"why": ""},
        {"until": None},
        {"until": "soon"},
        {"until": datetime.datetime(2027, 1, 1, 12, 0)},
        {"faults": "GO-2026-5760"},
        {"faults": []},
        {"unknown": 1},
    ],
)
def test_an_exception_without_a_reason_or_an_end_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(audit.NotChecked, match="exceptions: exception 1"):
        audit.exemptions(yaml.safe_dump([{**EXCEPTION, **changed}]), "exceptions")


def test_no_fault_is_well() -> None:
    assert audit.judge([], [], DAY) == ([], True)


def test_the_table() -> None:
    lines = audit.table([(fault(), "FAULT"), (fault(component="go", fixed="", aliases=()), "")]).splitlines()
    assert lines[0].split() == ["component", "version", "fault", "fixed", "in", "where", "reached"]
    assert "GO-2026-5760 CVE-2026-41174  3.6.14" in lines[1]
    assert lines[1].endswith("by version only  FAULT")
    assert lines[2].split()[:4] == ["go", "3.6.7", "GO-2026-5760", "none"]


def test_data_do_not_steer_the_terminal() -> None:
    text = audit.table([(fault(fault="PYSEC-1\x1b[2J\nall is well", aliases=("CVE-\x9b1",)), "FAULT")])
    assert "PYSEC-1?[2J?all is well CVE-?1" in text
    assert len(text.splitlines()) == 2


def test_the_database_that_govulncheck_reads(tmp_path: Path) -> None:
    audit.build_index([record("GO-2026-1"), record("GO-2026-2")], tmp_path / "go", "2026-11-05T00:00:00Z")
    assert json.loads((tmp_path / "go/ID/GO-2026-2.json").read_text())["id"] == "GO-2026-2"
    (entry,) = json.loads((tmp_path / "go/index/modules.json").read_text())
    assert (entry["path"], [one["id"] for one in entry["vulns"]]) == ("example.org/m", ["GO-2026-1", "GO-2026-2"])
    assert audit.Data(tmp_path).go_day() == datetime.date(2026, 11, 5)


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/x", "a b", "", "GO-2026-1\n"])
def test_a_record_writes_no_file_but_its_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(audit.NotChecked, match="calls itself"):
        audit.build_index([record(name)], tmp_path / "here" / "go", "2026-11-05T00:00:00Z")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_records_are_read_from_what_others_publish(tmp_path: Path) -> None:
    one = python_record()
    (tmp_path / "vulns/some-package").mkdir(parents=True)
    (tmp_path / "vulns/some-package/PYSEC-2026-1.yaml").write_text(yaml.safe_dump(one))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("PYSEC-2026-1.json", json.dumps(one))
    (tmp_path / "one.json").write_text(json.dumps({"records": [one]}))
    for place in ("vulns", "all.zip", "one.json"):
        assert audit.read_records(tmp_path / place) == [one]
    assert audit.python_day([one]) == datetime.date(2026, 1, 1)


def test_the_data_that_are_pinned() -> None:
    sources = yaml.safe_load(audit.SOURCES.read_text())
    assert all(sources[name]["sum"].startswith("h1:") for name in ("scanner", "data"))
    assert audit.module_day(sources["data"]["version"]) > datetime.date(2026, 11, 1)
    with pytest.raises(audit.NotChecked, match="pseudo-version"):
        audit.module_day("v1.2.3")
    names = {name for name, _version in audit.requirements((ROOT / "requirements.lock").read_text())}
    assert {one["affected"][0]["package"]["name"] for one in audit.read_records(audit.PYTHON_DATA)} & names
    assert audit.exemptions(audit.EXCEPTIONS.read_text(), "exceptions") is not None


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [("", "cache/audit/v0.0.0-1-v1.9.0"), ("newest", "cache/audit/newest"), ("/srv/data", "/srv/data")],
)
def test_where_the_data_are(choice: str, wanted: str) -> None:
    sources = {"data": {"version": "v0.0.0-1"}, "scanner": {"version": "v1.9.0"}}
    assert audit.data_directory(Path("cache"), choice, sources) == Path(wanted)


@pytest.mark.parametrize("options", [["--at-hand"], ["--data", "nowhere"]])
def test_without_data_it_says_why_and_touches_nothing(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["audit.py", "--cache", str(tmp_path / "cache"), *options])
    assert audit.main() == 2
    assert capsys.readouterr().err.startswith("audit: not checked: no ")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data with one fault of Traefik, and exceptions of our own. There are no programs in the cache."""
    directory = tmp_path / "data"
    audit.build_index([record("GO-2026-1", "github.com/traefik/traefik/v3", events=[{"introduced": "0"}])],
                      directory / "go", "2026-11-05T00:00:00Z")  # fmt: skip
    (directory / "govulncheck").write_text("")
    (directory / "python").mkdir()
    monkeypatch.setattr(audit, "EXCEPTIONS", tmp_path / "exceptions.yml")
    return directory


@pytest.mark.parametrize(
    ("exceptions", "status", "said"),
    [
        ([], 1, "audit: 1 faults, 0 with an exception, 1 without"),
        ([{**EXCEPTION, "faults": ["GO-2026-1"]}], 0, "audit: 1 faults, 1 with an exception, 0 without"),
        (
            [{**EXCEPTION, "faults": ["GO-2026-1", "GO-2026-2"]}],
            0,
            "The exception for GO-2026-2 of traefik is not needed.",
        ),
        ([{**EXCEPTION, "faults": ["GO-2026-1"], "until": DAY - datetime.timedelta(days=1)}], 1, "EXCEPTION ENDED"),
    ],
)
def test_the_whole(
    data: Path,
    exceptions: list[Any],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    audit.EXCEPTIONS.write_text(yaml.safe_dump(exceptions))
    options = ["--cache", str(tmp_path / "cache"), "--data", str(data), "--day", str(DAY)]
    monkeypatch.setattr(sys, "argv", ["audit.py", *options])
    assert audit.main() == status
    output = capsys.readouterr().out
    assert said in output
    assert "Go: data of 2026-11-05, " in output
    assert "so only their own version is checked: etcd, " in output
    monkeypatch.setattr(sys, "argv", ["audit.py", *options, "--at-hand"])
    assert audit.main() == 0
    assert capsys.readouterr() == ("", "")


def test_the_lock_file_of_a_site(data: Path, tmp_path: Path) -> None:
    text = (
        "version: 1\nassets: {}\nfiles:\n  traefik/3.6.7/amd64/traefik: {sha256: a, size: 1}\n"
        "  image-coredns/1.14.7/amd64/image-coredns: {sha256: b, size: 2}\n  gone/1/amd64/gone: {sha256: c, size: 3}\n"
    )
    site = audit.site_versions(text, "lock")
    assert site == [("gone", "1"), ("image-coredns", "1.14.7"), ("traefik", "3.6.7")]
    faults, _remarks = audit.audit(audit.Data(data), tmp_path / "cache", site)
    assert {one.version for one in faults} == {
        "3.6.7",
        audit.Catalogue(audit.DEFAULT_CATALOGUE, {}, "amd64").version("traefik"),
    }
    for text in ("", "files: []", "[]"):
        with pytest.raises(audit.NotChecked, match="lock has no mapping"):
            audit.site_versions(text, "lock")


def test_data_from_a_proxy_must_have_the_pinned_checksum(tmp_path: Path) -> None:
    answer = {"Dir": "/somewhere", "Version": "v1.0.0", "Sum": "h1:other="}

    class FakeGo:
        def output(self, arguments: list[str], cwd: str) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(arguments, 0, json.dumps(answer), "")

    assert audit.go_module(FakeGo(), "example.org/m", "v1.0.0", "h1:other=", tmp_path) == answer
    assert audit.go_module(FakeGo(), "example.org/m", "latest", "", tmp_path) == answer
    with pytest.raises(audit.NotChecked, match=r"checksum h1:other=, wanted h1:pinned="):
        audit.go_module(FakeGo(), "example.org/m", "v1.0.0", "h1:pinned=", tmp_path)
