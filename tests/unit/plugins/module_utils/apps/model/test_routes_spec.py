# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes: what is refused, which requests a rendered route is for, and who is in whose way."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.documentation import documented

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.arguments import arguments
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.parse import parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import (
    Claim,
    Target,
    claims,
    in_the_way,
    port_of,
    render,
    wanted_claims,
)
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_spec import AppRoute
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_spec import Path as UrlPath

ROOT = Path(__file__).resolve().parents[6]


def certificate(*domains: str, first: int = -1, last: int = 1) -> dict[str, str]:
    """Return a certificate and its key, valid between two days counted from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + datetime.timedelta(days=first))
        .not_valid_after(now + datetime.timedelta(days=last))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains]), False)
    )
    form = serialization.Encoding.PEM
    private = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "certificate": builder.sign(key, hashes.SHA256()).public_bytes(form).decode(),
        "key": private.decode(),
    }


GIVEN = certificate("shop.example.org", "*.wild.example.org")


def route(**more: Any) -> dict[str, Any]:
    return {"app": "shop", "tenant": "acme", "domains": ["shop.example.org"], **more}


def parsed(**more: Any) -> AppRoute:
    found: AppRoute = parse("app_route", route(**more)).route
    return found


# options, the option named in the message, a piece of what is said of it
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"tenant": "acme", "domains": ["a.example"]}, "app", "the app that gets the requests of the route"),
    ({"tenant": "acme", "name": "a", "domains": ["a.example"]}, "app", "because state is present"),
    ({"app": "shop", "domains": ["a.example"]}, "tenant", "found nothing"),
    (route(app="Shop"), "name", "lowercase"),
    (route(name="www", app="Shop"), "app", "the name of an app"),
    (route(tenant="kube-system"), "tenant", "the cluster's own"),
    (route(state="started"), "state", "present, absent"),
    (route(domains=[]), "domains", "or ports"),
    (route(domains=["Shop.example.org"]), "domains[0]", "lowercase host name"),
    (route(domains=["10.0.0.1"]), "domains[0]", "not an address"),
    (route(domains=["a.example", "a.example"]), "domains[1]", "each domain once"),
    (route(path="/"), "path", "unknown option"),
    (route(paths=[{"type": "exact"}]), "paths[0].path", "found nothing"),
    (route(paths=[{"path": "api"}]), "paths[0].path", "starts with /"),
    (route(paths=[{"path": "/a`b"}]), "paths[0].path", "%-encoded"),
    (route(paths=[{"path": "/a b"}]), "paths[0].path", "%-encoded"),
    (route(paths=[{"path": "/api\n"}]), "paths[0].path", "%-encoded"),
    (route(paths=[{"path": "/api/"}]), "paths[0].path", "/api, which"),
    (route(paths=[{"path": "/a"}, {"path": "/a", "strip": True}]), "paths[1].path", "each path once"),
    (route(paths=[{"path": "/", "strip": True}]), "paths[0].strip", "nothing to strip"),
    (route(paths=[{"path": "/a", "type": "regex"}]), "paths[0].type", "prefix, exact"),
    (route(tls="acme"), "tls.mode", "none, cluster, passthrough"),
    (route(tls={"mode": "cluster", **GIVEN}), "tls.mode", "no mode beside a certificate"),
    (route(tls={"certificate": GIVEN["certificate"]}), "tls.key", "both in PEM form"),
    (route(tls={"key": GIVEN["key"]}), "tls.certificate", "both in PEM form"),
    (route(tls={"certificate": "x", "key": GIVEN["key"]}), "tls.certificate", "a certificate in PEM form"),
    (route(tls={**GIVEN, "key": "no key"}), "tls.key", "a private key in PEM form"),
    (route(tls={**GIVEN, "key": certificate("a.example")["key"]}), "tls.key", "the key of tls.certificate"),
    (route(tls=certificate("shop.example.org", first=-3, last=-2)), "tls.certificate", "expired on"),
    (route(tls=certificate("shop.example.org", first=1, last=2)), "tls.certificate", "valid from"),
    (route(tls=certificate("other.example.org")), "tls.certificate", "also valid for shop.example.org"),
    (route(domains=["a.b.wild.example.org"], tls=GIVEN), "tls.certificate", "also valid for a.b.wild.example.org"),
    (route(redirect="http"), "redirect", "https, or {to"),
    (route(redirect={"permanent": True}), "redirect", "https, or {to"),
    (route(redirect={"to": "x", "code": 302}), "redirect", "https, or {to"),
    (route(redirect={"to": "a.example", "permanent": "maybe"}), "redirect.permanent", "true or false"),
    (route(redirect={"to": "*.example.org"}), "redirect.to", "one lowercase host name"),
    (route(redirect={"to": "shop.example.org"}), "redirect.to", "another domain"),
    (route(redirect="https", tls="none"), "redirect", "because tls is none"),
    (route(tls="passthrough", paths=[{"path": "/a"}]), "paths", "does not decrypt"),
    (route(tls="passthrough", sticky=True), "sticky", "does not decrypt"),
    (route(sticky="yes please"), "sticky", "{cookie: NAME}"),
    (route(sticky={"cookie": "a b"}), "sticky", "{cookie: NAME}"),
    (route(domains=[], ports=["web"]), "ports[0]", "a mapping"),
    (route(domains=[], ports=[{"port": 0}]), "ports[0].port", "1 to 65535"),
    (route(domains=[], ports=[{"port": 5}, {"port": 5}]), "ports[1].port", "each port once"),
    (route(domains=[], ports=[{"target": [1]}]), "ports[0].target", "number or the name"),
    (route(domains=[], ports=[{"protocol": "SCTP"}]), "ports[0].protocol", "TCP, UDP"),
    (route(domains=[], ports=[{}], sticky=True), "sticky", "only forwarded"),
    (route(domains=[], ports=[{}], tls=GIVEN), "tls", "only forwarded"),
    (route(weights=[]), "weights", "at least one weight above 0"),
    (route(weights=[{"app": "shop", "weight": 0}]), "weights", "at least one weight above 0"),
    (route(weights=[{"app": "shop"}]), "weights[0].weight", "a whole number"),
    (route(weights=[{"app": "shop", "weight": 1001}]), "weights[0].weight", "0 to 1000"),
    (route(weights=[{"weight": 1}]), "weights[0]", "either app or service"),
    (route(weights=[{"app": "a", "service": "b", "weight": 1}]), "weights[0]", "either app or service"),
    (route(weights=[{"service": "b", "process": "c", "weight": 1}]), "weights[0].process", "only beside app"),
    (route(weights=[{"app": "a", "weight": 1}, {"app": "a", "weight": 2}]), "weights[1]", "each backend once"),
    (route(process="api", weights=[{"app": "a", "weight": 1}]), "process", "each entry of weights"),
    (route(timeout=0), "timeout", "1 to 86400"),
]


@pytest.mark.parametrize(("options", "option", "wanted"), BAD)
def test_refused(options: dict[str, Any], option: str, wanted: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse("app_route", options)
    assert GIVEN["key"].splitlines()[1] not in str(caught.value)
    named = [finding for finding in caught.value.findings if finding.where == option]
    assert named and any(wanted in str(finding) for finding in named), str(caught.value)


def test_all_findings_are_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse("app_route", route(domains=["A"], paths=[{"path": "x"}], sticky=1, ports=[{"port": 0}], tls="x"))
    assert {finding.where for finding in caught.value.findings} == {
        "domains[0]",
        "paths[0].path",
        "sticky",
        "ports[0].port",
        "tls.mode",
    }


@pytest.mark.parametrize(
    ("tls", "mode"), [(None, "cluster"), ("none", "none"), ({"mode": "none"}, "none"), (GIVEN, "certificate")]
)
def test_tls_modes(tls: Any, mode: str) -> None:
    assert parsed(tls=tls).tls == mode


def test_to_remove_a_route_its_name_is_enough() -> None:
    for given in ({"name": "www"}, {"app": "www"}):
        found = parse("app_route", {"tenant": "acme", "state": "absent", **given}).route
        assert (found.name, found.state) == ("www", "absent")


def rules(**more: Any) -> dict[str, int]:
    """Return the rules of a route over HTTP with their priorities."""
    objects = render(parsed(**more), [Target("shop", "http", 1)], {})
    (http,) = [entry for entry in objects if entry["metadata"]["name"].endswith("-http")]
    return {one["match"]: one["priority"] for one in http["spec"]["routes"]}


def test_longer_paths_and_exact_domains_come_first() -> None:
    paths = [{"path": "/"}, {"path": "/a"}, {"path": "/a", "type": "exact"}, {"path": "/a/long", "type": "exact"}]
    exact = rules(paths=paths)
    wild = rules(domains=["*.example.org"], paths=paths)
    assert list(exact.values()) == sorted(set(exact.values()))
    assert max(wild.values()) < len("Host(`a.io`) && PathPrefix(`/`)") < min(exact.values())


def test_what_is_rendered_claims_what_was_wanted() -> None:
    wanted = parsed(
        domains=["shop.example.org", "*.shop-2.example.org"],
        paths=[{"path": "/"}, {"path": "/a.b", "strip": True}, {"path": "/c/", "type": "exact"}],
        redirect="https",
    )
    for entry in render(wanted, [Target("shop", "http", 1)], {}):
        if entry["kind"] == "IngressRoute":
            assert sorted(claims(entry)) == sorted(wanted_claims(wanted))
    (passed,) = render(parsed(tls="passthrough"), [Target("shop", "http", 1)], {})
    assert claims(passed) == [Claim("acme", ("route", "shop"), "shop", "shop.example.org")]


@pytest.mark.parametrize("redirect", ["https", {"to": "new.example.org"}])
def test_a_redirect_needs_nothing_outside_its_tenant(redirect: Any) -> None:
    """The gateway takes no reference to another namespace or provider, which has an @ in it."""
    objects = render(parsed(redirect=redirect), [Target("shop", "http", 1)], {})
    assert "@" not in str(objects)
    assert "namespace" not in {key for entry in objects for key in entry["spec"]}
    found = {(entry["kind"], entry["metadata"]["name"]) for entry in objects}
    (http,) = [entry for entry in objects if entry["metadata"]["name"].endswith("-http")]
    for one in http["spec"]["routes"]:
        assert one["services"] == [{"kind": "TraefikService", "name": "shop-nowhere"}]
        assert {("Middleware", middleware["name"]) for middleware in one["middlewares"]} <= found
    assert ("TraefikService", "shop-nowhere") in found


def test_ports_are_read_back() -> None:
    wanted = {("TCP", 25000): [Target("shop", "mqtt", 1)], ("UDP", 25001): [Target("shop", "dns", 1)]}
    objects = render(parsed(domains=[], ports=[{}]), [], wanted)
    assert [port_of(entry) for entry in objects] == list(wanted)


@pytest.mark.parametrize(
    ("tenant", "owner", "path", "blocked"),
    [
        ("acme", ("route", "shop"), UrlPath(), False),
        ("acme", ("route", "blog"), UrlPath(), True),
        ("acme", ("Ingress", "shop"), UrlPath(), True),
        ("acme", ("route", "blog"), UrlPath("/blog"), False),
        ("acme", ("route", "blog"), UrlPath("/", "exact"), False),
        ("other", ("route", "shop"), UrlPath("/blog"), True),
    ],
)
def test_who_is_in_the_way(tenant: str, owner: tuple[str, str], path: UrlPath, blocked: bool) -> None:
    (wanted,) = wanted_claims(parsed())
    other = Claim(tenant, owner, "blog", "shop.example.org", path)
    assert (in_the_way(wanted, [other]) is not None) == blocked
    assert in_the_way(wanted, [other._replace(domain="example.org")]) is None


def test_ingress_and_foreign_routes_claim_too() -> None:
    ingress = {
        "kind": "Ingress",
        "metadata": {"name": "i", "namespace": "acme"},
        "spec": {"rules": [{"host": "a.example", "http": {"paths": [{"path": "/x", "pathType": "Exact"}]}}, {}]},
    }
    assert [str(claim) for claim in claims(ingress)] == [
        "a.example/x, which Ingress i of tenant acme",
        "all domains, which Ingress i of tenant acme",
    ]
    match = "(Host(`a.example`) || Host(`b.example`)) && Method(`GET`)"
    foreign = {**ingress, "kind": "IngressRoute", "spec": {"routes": [{"match": match}, {"match": "HostSNI(`*`)"}]}}
    assert [claim.domain for claim in claims(foreign)] == ["a.example", "b.example", "*"]


# A rule, and the domains it claims. "*" is all of them.
RULES: list[tuple[str, list[str]]] = [
    ("Host(`a.example`)", ["a.example"]),
    ("host( `A.Example.` ) && PathPrefix(`/x`)", ["a.example"]),
    ('Host("a.example")', ["a.example"]),
    ("Host(`a.example`) && (Header(`X`, `a && b`) || !Method(`GET`, `PUT`))", ["a.example"]),
    ("PathPrefix(`/`) && (Host(`a.example`) || Host(`b.example`))", ["a.example", "b.example"]),
    ("HostRegexp(`^[a-zA-Z0-9-]+\\.a\\.example$`)", ["*.a.example"]),
    # Everybody's requests, written openly or not.
    ("", ["*"]),
    ("PathPrefix(`/`)", ["*"]),
    ("HostSNI(`*`)", ["*"]),
    ("Host(`*`)", ["*"]),
    ("Host(`*.example`)", ["*"]),
    ("!Host(`a.example`)", ["*"]),
    ("Host(`a.example`) || PathPrefix(`/login`)", ["*"]),
    ("Host(`a.example`) || !Host(`a.example`)", ["*"]),
    ("Host(`a.example`, `b.example`)", ["*"]),
    ("Host()", ["*"]),
    ('Host("a\\x2eexample")', ["*"]),
    ("Host(`a.example`", ["*"]),
    ("Host(`a.example`) && ", ["*"]),
    ("Host(`a.example`) PathPrefix(`/`)", ["*"]),
    ("Host(`a.example`) & Path(`/`)", ["*"]),
    ("Host(`a.example`))", ["*"]),
    ("Host(a.example)", ["*"]),
    ("Host(`a.example`) // Host(`b.example`)", ["*"]),
    ("H\u043est(`a.example`)", ["*"]),
    ("HostRegexp(`.*`)", ["*"]),
    ("HostRegexp(`^.+\\.example$`)", ["*"]),
    ("HostRegexp(`^[a-zA-Z0-9-]+\\.a\\.example`)", ["*"]),
    ("HostRegexp(`^[a-zA-Z0-9-]+.a.example$`)", ["*"]),
    ("HostRegexp(`^[a-zA-Z0-9-]+\\.a\\.example$|.*`)", ["*"]),
    ("HostSNIRegexp(`^.*$`)", ["*"]),
    ("ClientIP(`10.0.0.1`)", ["*"]),
    ("(" * 5000 + "Host(`a.example`)" + ")" * 5000, ["*"]),
]


def router(
    match: str, kind: str = "IngressRoute", entry_points: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    spec = {"routes": [{"match": match, **more}], **({"entryPoints": entry_points} if entry_points else {})}
    return {"kind": kind, "metadata": {"name": "r", "namespace": "other"}, "spec": spec}


@pytest.mark.parametrize(("match", "domains"), RULES, ids=[match[:40] for match, _domains in RULES])
@pytest.mark.parametrize("kind", ["IngressRoute", "IngressRouteTCP"])
def test_a_rule_that_is_not_understood_claims_everything(kind: str, match: str, domains: list[str]) -> None:
    found = claims(router(match, kind))
    assert sorted({claim.domain for claim in found}) == domains
    (wanted,) = wanted_claims(parsed())
    other = in_the_way(wanted, found)
    assert (other is not None) == ("*" in domains)
    assert other is None or str(other) == f"all domains, which {kind} r of tenant other"


def test_the_older_syntax_claims_everything() -> None:
    assert [claim.domain for claim in claims(router("Host(`a.example`)", syntax="v2"))] == ["*"]


@pytest.mark.parametrize(
    ("points", "everything"),
    [
        (["tcp-25000"], False),
        (["web"], True),
        (["websecure"], True),
        (["tcp-25000", "websecure"], True),
        (["metrics"], True),
        ([], True),
    ],
)
def test_a_port_of_its_own_is_no_claim_to_domains(points: list[str], everything: bool) -> None:
    found = claims(router("HostSNI(`*`)", "IngressRouteTCP", points))
    assert [claim.domain for claim in found] == (["*"] if everything else [])


def test_an_ingress_without_host_claims_everything() -> None:
    meta = {"name": "i", "namespace": "other"}
    backend = {"service": {"name": "s", "port": {"number": 1}}}
    for spec in ({"defaultBackend": backend}, {"rules": [{"http": {"paths": [{"path": "/x", "backend": backend}]}}]}):
        found = claims({"kind": "Ingress", "metadata": meta, "spec": spec})
        assert [claim.domain for claim in found] == ["*"]
        (wanted,) = wanted_claims(parsed())
        assert in_the_way(wanted, found) is not None


def test_who_claims_everything_is_not_in_the_way_of_its_own_tenant() -> None:
    (wanted,) = wanted_claims(parsed())
    (other,) = claims(router("PathPrefix(`/`)"))
    assert in_the_way(wanted._replace(tenant="other"), [other]) is None


def test_documentation_has_every_option() -> None:
    def compare(found: dict[str, Any], table: dict[str, Any]) -> None:
        assert set(found) == set(table)
        for name, option in table.items():
            for key in ("type", "default", "choices", "elements", "required"):
                assert found[name].get(key) == option.get(key), f"{name}: {key}"
            if "options" in option:
                compare(found[name]["suboptions"], option["options"])

    compare(documented("app_route"), arguments("app_route"))


def examples() -> list[dict[str, Any]]:
    page = (ROOT / "docs" / "routes.md").read_text("utf-8")
    module = (ROOT / "plugins" / "modules" / "app_route.py").read_text("utf-8")
    texts = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    texts += re.findall(r'EXAMPLES = r"""\n(.*?)"""', module, re.DOTALL)
    return [task["cloudbang.platform.app_route"] for text in texts for task in yaml.safe_load(text)]


@pytest.mark.parametrize("options", examples(), ids=lambda options: options.get("name") or options.get("app"))
def test_examples_are_accepted(options: dict[str, Any]) -> None:
    tls = options.get("tls")
    if isinstance(tls, dict) and "certificate" in tls:
        options = {**options, "tls": GIVEN}
    parse("app_route", options)
