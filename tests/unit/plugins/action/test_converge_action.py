# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of converge takes what the module documents, and nothing else."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.cloudbang.platform.plugins.action import converge
from ansible_collections.cloudbang.platform.plugins.modules import converge as module
from ansible_collections.cloudbang.platform.plugins.plugin_utils import certificates, kubeconfig
from ansible_collections.cloudbang.platform.plugins.plugin_utils.authority import Authority
from ansible_collections.cloudbang.platform.plugins.plugin_utils.sending import inline


def test_documented_options_are_those_that_are_taken() -> None:
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    files = options["files"]["suboptions"]
    config = files["kubeconfig"]["suboptions"]
    certificate = files["certificate"]["suboptions"]
    assert set(options) == converge.OPTIONS
    assert set(files) == converge.KEYS
    assert set(config) == kubeconfig.OPTIONS
    documented = {
        name: {key: option[key] for key in option if key != "description"} for name, option in certificate.items()
    }
    assert documented == certificates.OPTIONS
    assert {name for name, option in config.items() if option.get("required")} == kubeconfig.REQUIRED


def test_a_tree_is_sent_without_what_is_hidden_or_compiled(tmp_path: Path) -> None:
    for name in ("a.py", "inside/b.py", ".hidden", "inside/__pycache__/b.pyc", ".cache/c.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("x\n")
    (tmp_path / "empty").mkdir()
    content = inline(b"x\n")
    assert converge.tree_of(tmp_path) == {"a.py": content, "inside/b.py": content}


def test_a_tree_that_would_empty_a_host_is_refused(tmp_path: Path) -> None:
    """A file, a directory of nothing that is sent, and one with a link, whose target would be left out."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    (tmp_path / "empty" / ".hidden").write_text("x")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.py").write_text("x")
    (tmp_path / "linked" / "b").symlink_to(tmp_path / "empty")
    for name, found in (("file", "no files"), ("empty", "no files"), ("linked", "the links b")):
        with pytest.raises(AnsibleActionFail, match=f"{name}: found {found}, wanted a directory of regular files"):
            converge.tree_of(tmp_path / name)


class Action(converge.ActionModule):
    """The action of one task, on a host whose answers are given."""

    def __init__(self, entry: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        self._task = SimpleNamespace(
            args={"files": [entry] if "path" in entry else entry["files"]}, delegate_to=None, check_mode=False,
            async_val=0, action="converge",
        )  # fmt: skip
        self._answers, self.asked = answers, []
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"))

    def _find_needle(self, _dirname: str, needle: str) -> str:
        return needle

    def _remove_tmp_path(self, _path: str, force: bool = False) -> None:
        pass

    def _converge(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(copy.deepcopy(arguments))
        return self._answers.pop(0)


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"tree": "x", "state": "absent"}, "found state absent beside tree"),
        ({"content": "x", "state": "tree"}, "found state tree beside content"),
        ({"state": "tree"}, "wanted one of template"),
        ({"state": "link"}, "wanted one of template"),
    ],
)
def test_a_source_goes_with_its_state(entry: dict[str, Any], found: str) -> None:
    with pytest.raises(AnsibleActionFail, match=found):
        Action({"path": "/x", **entry}, [])._entry({"path": "/x", **entry})


def test_a_tree_and_a_file_that_is_sent_go_in_one_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("x\n")
    entries = [{"path": "/opt/tree", "tree": str(tmp_path)}, {"path": "/opt/large", "artifact": "large"}]
    nothing: dict[str, Any] = {"installed": [], "changed_users": [], "restarted": [], "diff": [], "found": {}}
    first = {**nothing, "changed": True, "changed_files": ["/opt/tree/a.py"], "missing": ["/opt/large"], "due": False}
    second = {"changed": True, "changed_files": ["/opt/large"], "missing": []}
    action = Action({"files": entries}, [first, second])
    monkeypatch.setattr(action, "_artifact", lambda name: "digest", raising=False)
    monkeypatch.setattr(converge, "send_blobs", lambda _action, missing, _paths: dict.fromkeys(missing, "/tmp/x/blob"))
    monkeypatch.setattr(converge.ActionBase, "run", lambda *_arguments: {})
    result = action.run(None, {})
    assert result["changed_files"] == ["/opt/tree/a.py", "/opt/large"]
    assert [file["content"].get("blob") for file in action.asked[1]["files"]] == [None, "/tmp/x/blob"]


def test_a_certificate_is_replaced_before_large_files_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes its time, and may fail. Nothing has to wait for a certificate that is new."""
    entries = [{"path": "/opt/large", "artifact": "large"}, {"path": "/pki/server", "certificate": {}}]
    nothing: dict[str, Any] = {"installed": [], "changed_users": [], "restarted": [], "diff": [], "changed_files": []}
    ran = {**nothing, "changed": True, "missing": [], "due": False}
    monkeypatch.setattr(converge.ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(Action, "_artifact", lambda self, name: "digest", raising=False)
    monkeypatch.setattr(Action, "_wanted", lambda self, entry: {})
    monkeypatch.setattr(Action, "_authorities", lambda self: Path("/pki"))
    monkeypatch.setattr(
        converge.certificates, "sign", lambda *_arguments: ({"/pki/server": "new"}, {"/pki/server": "x"})
    )
    for before, last in (("old", ["/pki/server.crt"]), (None, ["/pki/server", "/opt/large"])):
        found = {"/pki/server": {"public_key": "key", "certificate": before}}
        action = Action({"files": entries}, [{**ran, "missing": ["/opt/large"], "found": found}, ran, ran])

        def send(*_arguments: Any) -> dict[str, str]:
            raise AnsibleActionFail("the disk is full")

        monkeypatch.setattr(converge, "send_blobs", send)
        result = action.run(None, {})
        assert [file["path"] for file in action.asked[-1]["files"]] == last
        assert (result["failed"], result["msg"], result["changed"]) == (True, "the disk is full", True)


def test_each_certificate_has_a_path_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge.ActionBase, "run", lambda *_arguments: {})
    entry = {"path": "/pki/server", "certificate": {"authority": "a", "common_name": "b"}}
    with pytest.raises(AnsibleActionFail, match="/pki/server: found two certificates, wanted a path for each"):
        Action({"files": [entry, entry]}, []).run(None, {})


def test_a_host_gets_the_certificates_of_its_task_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it answers: another path, and names and an authority of its own choice beside the key."""
    Authority.ensure(tmp_path, "demo-ca", "demo")
    key = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        capture_output=True,
        check=True,
    ).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=key, capture_output=True, check=True).stdout.decode()
    forged = {"public_key": public, "certificate": None, "common_name": "admin", "organizations": ["system:masters"]}
    nothing: dict[str, Any] = {"installed": [], "changed_users": [], "restarted": [], "diff": [], "changed_files": []}
    ran = {**nothing, "changed": True, "missing": [], "due": False}
    first = {**ran, "found": {"/pki/server": forged, "/pki/admin": forged}, "missing": ["/pki/admin.crt"]}
    monkeypatch.setattr(converge.ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(Action, "_authorities", lambda self: tmp_path)
    wanted = {"authority": "demo-ca", "common_name": "node", "organizations": ["nodes"]}
    action = Action({"files": [{"path": "/pki/server", "certificate": wanted}]}, [first, ran])
    result = action.run(None, {})
    assert "failed" not in result and list(result["issued"]) == ["/pki/server"]
    [file] = action.asked[1]["files"]
    assert file["path"] == "/pki/server.crt"
    pem = zlib.decompress(base64.b64decode(file["content"]["data"]))
    show = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253"]
    subject = subprocess.run(show, input=pem, capture_output=True, check=True).stdout.decode()
    assert sorted(subject.strip().removeprefix("subject=").split(",")) == ["CN=node", "O=nodes"]


def test_a_key_that_cannot_be_read_is_not_embedded_before_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in (".key", ".crt"):
        (tmp_path / f"admin{suffix}").write_text("x")
    path = str(tmp_path / "admin")
    action = Action({"files": []}, [])
    action._certificates, action._signed = {path: {}}, {}
    for readable in (True, False):
        monkeypatch.setattr("os.access", lambda name, _mode, may=readable: may or not name.endswith(".key"))
        assert action._unsigned({"certificate": path, "embed": True}) is not readable


class Machine:
    """This machine as host and controller, with authorities below a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.pki, self.path = root, root / "pki", root / "host" / "server"
        self.pki.mkdir()
        Authority.ensure(self.pki, "demo-ca", "demo")
        self.wanted: dict[str, Any] = {"authority": "demo-ca", "common_name": "demo", "names": ["demo.example.org"]}

    def run(self, *files: dict[str, Any], check: bool = False, **wanted: Any) -> dict[str, Any]:
        """Return the result of the task, and as `runs` how often the module was run on the host."""
        certificate = {"path": str(self.path), "certificate": {**self.wanted, **wanted}}
        options = {"files": [*files, certificate], "authorities": str(self.pki), "record": False}
        variables = {"cloudbang_cluster_name": "demo", "cloudbang_api_url": "https://192.0.2.1:6443"}
        command = [str(Path(sys.executable).with_name("ansible")), "--inventory=localhost,", "--connection=local"]
        command += ["--module-name=cloudbang.platform.converge", f"--args={json.dumps(options)}", "--diff", "-vvv"]
        command += [f"--extra-vars={json.dumps({**variables, 'ansible_python_interpreter': sys.executable})}"]
        command += ["--check"] if check else []
        environment = {"ANSIBLE_HOME": str(self.root / "home"), "ANSIBLE_LOCAL_TEMP": str(self.root / "tmp")}
        environment |= {"ANSIBLE_REMOTE_TMP": str(self.root / "tmp"), "ANSIBLE_NOCOLOR": "1"}
        environment |= {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        done = subprocess.run(
            [*command, "localhost"],
            cwd=Path(__file__).resolve().parents[4],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "PRIVATE KEY" not in done.stdout
        answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("=> {") + 3 :])
        answer["runs"] = done.stdout.count("Using module file")
        answer["warnings"] = done.stderr
        return answer

    def file(self, suffix: str) -> Path:
        return self.path.with_name(f"server{suffix}")


@pytest.fixture()
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_certificate_is_issued_in_two_runs_and_left_alone_in_one(machine: Machine) -> None:
    config = machine.root / "host" / "admin.conf"
    options = {"user": "demo", "certificate": str(machine.path), "authority": str(machine.pki / "demo-ca.crt")}
    embedding = {"path": str(config), "kubeconfig": {**options, "embed": True}}
    both = [str(machine.file(".key")), str(machine.file(".crt"))]
    answer = machine.run(embedding, check=True)
    assert answer["issued"] == {str(machine.path): "there is no key"}
    assert answer["changed_files"] == [*both, str(config)] and not machine.path.parent.exists()
    answer = machine.run(embedding)
    assert answer["issued"] == {str(machine.path): "there is none"}
    assert (answer["changed_files"], answer["runs"]) == ([*both, str(config)], 2)
    answer = machine.run(embedding)
    assert (answer["changed"], answer["issued"], answer["changed_files"], answer["runs"]) == (False, {}, [], 1)
    key = machine.file(".key").read_bytes()
    before = config.read_bytes()
    for check in (True, False):
        answer = machine.run(embedding, check=check, names=["other.example.org"])
        assert "its names differ" in answer["issued"][str(machine.path)]
        assert answer["changed_files"] == [str(machine.file(".crt")), str(config)]
        assert (config.read_bytes() == before) is check
    assert machine.file(".key").read_bytes() == key
    assert not machine.run(embedding, names=["other.example.org"])["changed"]


def test_a_template_that_looks_like_data_stays_text_without_a_warning(machine: Machine) -> None:
    template = machine.root / "one.j2"
    template.write_text("{# no text #}\n{cluster: [{{ cloudbang_cluster_name }}, 1]}\n")
    answer = machine.run({"path": str(machine.root / "one"), "template": str(template)})
    assert (machine.root / "one").read_text() == "{cluster: [demo, 1]}\n"
    assert "DEPRECATION" not in answer["warnings"]


def test_permissions_of_a_certificate_are_put_right_without_another_one(machine: Machine) -> None:
    machine.run()
    before = machine.file(".crt").read_bytes()
    machine.file(".crt").chmod(0o600)
    answer = machine.run()
    assert (answer["changed_files"], answer["issued"], answer["runs"]) == ([str(machine.file(".crt"))], {}, 2)
    assert machine.file(".crt").read_bytes() == before and machine.file(".crt").stat().st_mode & 0o777 == 0o644


def test_what_fails_is_named_before_a_key_is_made(machine: Machine) -> None:
    assert "common_name" in machine.run(common_name=None)["msg"]
    assert "value of usages must be one or more of: server, client" in machine.run(usages=["both"])["msg"]
    assert not machine.path.parent.exists()
    missing = machine.run(authority="other-ca")
    assert "other-ca.crt is missing" in missing["msg"]
    # What was done before is told all the same.
    assert (missing["changed"], missing["changed_files"]) == (True, [str(machine.file(".key"))])
    answer = machine.run(check=True, authority="other-ca")
    assert answer["issued"] == {str(machine.path): "its authority does not exist yet"}


def test_an_error_elsewhere_in_the_task_does_not_keep_a_certificate_from_its_host(machine: Machine) -> None:
    taken = machine.root / "taken"
    taken.write_text("x")
    for more in ({}, {"names": ["other.example.org"]}):
        answer = machine.run({"path": str(taken), "state": "directory"}, **more)
        assert "found a file, wanted a directory" in answer["msg"] and list(answer["issued"]) == [str(machine.path)]
        assert str(machine.file(".crt")) in answer["changed_files"]
    assert not machine.run(names=["other.example.org"])["changed"]


def test_another_kind_of_thing_takes_a_path_beside_a_certificate(machine: Machine) -> None:
    moved = machine.root / "moved"
    moved.write_text("x")
    absent = {"path": str(moved), "state": "absent"}
    answer = machine.run(absent, {"path": str(moved), "state": "directory"})
    assert moved.is_dir() and machine.file(".crt").exists() and "failed" not in answer
