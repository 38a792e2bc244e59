# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes against a real API, and through a real Traefik that is configured by the templates of the role gateway.

There are no pods: an app is a Service whose EndpointSlice has servers of the test, on an address of this machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import http.server
import json
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.cloudbang.platform.plugins.module_utils.apps import runner
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions import route
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.actions.context import Context
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model import labels, parse
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.options import Invalid
from ansible_collections.cloudbang.platform.plugins.module_utils.apps.model.routes_render import port_of
from ansible_collections.cloudbang.platform.plugins.module_utils.kube import client, kinds
from ansible_collections.cloudbang.platform.plugins.module_utils.kube.objects import head
from ansible_collections.cloudbang.platform.plugins.plugin_utils.artifacts import Settings, ensure

from .conftest import ROOT, Api, Authority, Nodes, _builder, _free_ports, _key_pem, _pem

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TEMPLATES = ROOT / "roles" / "gateway" / "templates"
KINDS = ("Secret", "Middleware", "TraefikService", "IngressRoute", "IngressRouteTCP", "IngressRouteUDP")


def go(options: dict[str, Any], check: bool = False, module: str = "app_route") -> dict[str, Any]:
    """Run a module and make sure that its result shows no key."""
    result = runner.run(module, options, check)
    assert "PRIVATE KEY" not in json.dumps(result)
    return result


def good(options: dict[str, Any], check: bool = False, module: str = "app_route") -> dict[str, Any]:
    result = go(options, check, module)
    assert not result.get("failed"), result["msg"]
    return result


def converge(options: dict[str, Any]) -> dict[str, Any]:
    """Run a task: check mode reports what it does; a second run, and check mode after it, change nothing."""
    said = good(options, check=True)
    done = good(options)
    for key in ("changed", "diff", "changes", "route"):
        assert done[key] == said[key]
    for check in (True, False):
        again = good(options, check)
        assert (again["changed"], again["diff"], again["changes"]) == (False, [], [])
        assert again["route"] == done["route"]
    return done


def refused(options: dict[str, Any], *texts: str) -> None:
    result = go(options)
    assert result["failed"] and not result["changed"]
    assert [text for text in texts if text not in result["msg"]] == [], result["msg"]


def issue(authority: Authority, domains: list[str], first_day: int = -1, last_day: int = 2) -> dict[str, str]:
    """Return certificate and key for domains, in the form of the option `tls`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
    builder = _builder(subject, authority.certificate.subject, key, first_day, last_day)
    names = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
    certificate = builder.add_extension(names, False).sign(authority.key, hashes.SHA256())
    return {"certificate": _pem(certificate).decode(), "key": _key_pem(key).decode()}


def own_address() -> str:
    """Return an address of this machine that is not loopback, which EndpointSlices do not allow."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _number, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), 0x8915, request)
            except OSError:
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                return address
    raise AssertionError("found no IPv4 address but loopback on this machine, wanted one for the servers of the test")


class Server:
    """A server of an app: over HTTP it answers with its name and the path of the request, otherwise with its name."""

    def __init__(self, name: str, protocol: str = "HTTP") -> None:
        self.name = name
        self.connections: list[socket.socket] = []
        connections = self.connections

        class Pages(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                connections.append(self.request)
                super().setup()

            def do_GET(self) -> None:
                body = f"{name} {self.path}".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_given: Any) -> None:
                pass

        class Words(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if protocol == "UDP":
                    self.request[1].sendto(name.encode(), self.client_address)
                else:
                    self.request.sendall(name.encode())

        makers = {"TCP": socketserver.ThreadingTCPServer, "UDP": socketserver.ThreadingUDPServer}
        made: Any = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Pages) if protocol == "HTTP" else None
        self.server: Any = made or makers[protocol](("0.0.0.0", 0), Words)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Close the server and all its connections, as when a process ends."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@dataclass
class World:
    """The API, a gateway and the servers of a test."""

    api: Api
    address: str
    http: int
    https: int
    tcp: list[int]
    udp: list[int]
    authority: Authority
    health: int
    metrics: int
    servers: list[Server] = field(default_factory=list)

    def route(self, tenant: str, app: str = "shop", **more: Any) -> dict[str, Any]:
        return self.api.options(tenant=tenant, app=app, timeout=5, **more)

    def offer(self, tenant: str, app: str, protocol: str = "HTTP", process: str = "web", **more: Any) -> Server:
        """Make a server the only endpoint of an app's Service, and return it."""
        server = Server(app, protocol)
        self.servers.append(server)
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}
        self.api.kube.apply(space, "test")
        name = more.get("service", app)
        service = head("Service", name, tenant, labels.labels(app, tenant, process))
        layer = "UDP" if protocol == "UDP" else "TCP"
        service["spec"] = {"ports": [{"name": "main", "port": 8000, "protocol": layer}]}
        self.api.kube.apply(service, "test")
        self.endpoints(tenant, name, [server], layer)
        return server

    def endpoints(
        self,
        tenant: str,
        service: str,
        servers: list[Server],
        layer: str = "TCP",
        ready: bool = True,
        port: str = "main",
    ) -> None:
        """Make servers the endpoints of a port of a Service."""
        entry = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": service,
                "namespace": tenant,
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [{"name": port, "port": server.port, "protocol": layer} for server in servers],
            "endpoints": [
                {"addresses": [self.address], "conditions": {"ready": ready, "serving": ready}} for _one in servers
            ],
        }
        self.api.kube.apply(entry, "test")

    def ask(self, domain: str, path: str = "/", tls: bool = False, cookie: str = "") -> tuple[int, str, dict[str, str]]:
        """Return status, body and headers of an answer; cookies are joined."""
        connection: http.client.HTTPConnection
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=5)
        if tls:
            context = ssl.create_default_context(cadata=self.authority.pem.decode())
            plain = socket.create_connection(("127.0.0.1", self.https), 5)
            connection.sock = context.wrap_socket(plain, server_hostname=domain)
        headers = {"Host": domain, **({"Cookie": cookie} if cookie else {})}
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            cookies = [entry.split(";")[0] for entry in answer.headers.get_all("Set-Cookie") or []]
            return answer.status, answer.read().decode(), {**dict(answer.headers), "Set-Cookie": "; ".join(cookies)}
        finally:
            connection.close()

    def says(self, domain: str, path: str = "/", tls: bool = False) -> str:
        """Return the body of an answer, or its status when that is not 200."""
        try:
            status, body, _headers = self.ask(domain, path, tls)
        except ssl.SSLError as error:
            return type(error).__name__
        return body if status == 200 else str(status)


def soon(wanted: Any, check: Callable[[], Any], seconds: float = 5) -> float:
    """Wait until a check returns the wanted value, and return how long that took."""
    start = time.monotonic()
    while True:
        found = check()
        if found == wanted:
            return time.monotonic() - start
        assert time.monotonic() - start < seconds, f"found {found!r}, wanted {wanted!r}"
        time.sleep(0.02)


def _define(api: Api, text: str) -> None:
    """Install Traefik's CRDs."""
    names = []
    for definition in yaml.safe_load_all(text):
        if definition:
            names.append(definition["metadata"]["name"])
            where = f"{DEFINITIONS}/{names[-1]}"
            query = {"fieldManager": "test", "force": "true"}
            api.kube.request("PATCH", where, query, definition, content_type=client.APPLY)

    def established() -> bool:
        found = [api.kube.request("GET", f"{DEFINITIONS}/{name}").get("status") or {} for name in names]
        return all(
            any(one["type"] == "Established" and one["status"] == "True" for one in status.get("conditions") or [])
            for status in found
        )

    soon(True, established, 30)


def _render(template: str, **variables: Any) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True)
    environment.filters.update(bool=bool, hash=lambda text, kind: hashlib.new(kind, text.encode()).hexdigest())
    environment.globals["lookup"] = lambda _plugin, path: Path(path).read_text("utf-8").rstrip()
    return environment.get_template(template).render(**variables)


@pytest.fixture(scope="module")
def gateway(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Traefik with the configuration and the rights that the role gives it."""
    found = ensure(["traefik", "traefik-crds"], Settings.from_vars({}), print)
    _define(api, Path(found["traefik-crds"].path).read_text("utf-8"))
    directory = tmp_path_factory.mktemp("gateway")
    ports = _free_ports(8)
    (directory / "gateway.secret").write_text("a secret of this cluster\n")
    variables: dict[str, Any] = {
        "cloudbang_pki_dir": str(directory),
        "gateway_http_port": ports[0],
        "gateway_https_port": ports[1],
        "gateway_health_port": ports[2],
        "gateway_metrics_port": ports[3],
        "gateway_tcp_ports": f"{ports[4]}, {ports[5]}-{ports[5]}",
        "gateway_udp_ports": f"{ports[6]},{ports[7]}",
        "gateway_access_log": False,
        "cloudbang_api_address": "192.0.2.1",
    }
    for entry in yaml.safe_load_all(_render("rbac.yaml.j2", **variables)):
        plural = entry["kind"].lower() + ("es" if entry["kind"].endswith("s") else "s")
        where = f"/apis/{entry['apiVersion']}/{plural}/{entry['metadata']['name']}"
        api.kube.request("PATCH", where, {"fieldManager": "test", "force": "true"}, entry, content_type=client.APPLY)
    authority = Authority.new("gateway-ca")
    own = issue(authority, ["*.cluster.example"])
    (directory / "gateway.crt").write_text(own["certificate"])
    (directory / "gateway.key").write_text(own["key"])
    certificate, key = api.authority.issue("cloudbang:gateway")
    kubeconfig = api.write_kubeconfig("gateway.conf", api.authority.pem, certificate, key)
    dynamic = directory / "dynamic"
    dynamic.mkdir()
    for name in ("http.yaml", "tls.yaml", "udp.yaml"):
        text = _render(f"{name}.j2", **variables).replace("/etc/traefik/", f"{directory}/")
        (dynamic / name).write_text(text)
    configuration = directory / "traefik.yaml"
    configuration.write_text(_render("traefik.yaml.j2", **variables).replace("/etc/traefik/", f"{directory}/"))
    program = directory / "traefik"
    program.write_bytes(Path(found["traefik"].path).read_bytes())
    program.chmod(0o700)
    log = directory / "traefik.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [program, f"--configFile={configuration}"],
            env={"KUBECONFIG": str(kubeconfig)},
            stdout=stream,
            stderr=stream,
        )
    world = World(api, own_address(), ports[0], ports[1], ports[4:6], ports[6:8], authority, ports[2], ports[3])
    try:

        def pings() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                with socket.create_connection(("127.0.0.1", ports[2]), 1):
                    return True
            except OSError:
                return False

        soon(True, pings, 30)
        yield world
        assert "forbidden" not in log.read_text(), log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
        for server in world.servers:
            server.close()


def objects(world: World, tenant: str) -> list[str]:
    """Return kind and name of all objects of a tenant's routes."""
    return sorted(
        f"{kind} {entry['metadata']['name']}"
        for kind in KINDS
        for entry in world.api.kube.find(kind, tenant, "cloudbang.platform/route")
    )


def test_domain_with_the_certificate_of_the_cluster(gateway: World, tenant: str) -> None:
    gateway.offer(tenant, "shop")
    options = gateway.route(tenant, domains=[f"{tenant}.cluster.example"])
    done = converge(options)
    assert done["route"]["urls"] == [f"https://{tenant}.cluster.example/"]
    for tls in (False, True):
        soon("shop /x", lambda tls=tls: gateway.says(f"{tenant}.cluster.example", "/x", tls))
    assert objects(gateway, tenant) == ["IngressRoute shop-http", "IngressRoute shop-https"]
    plain = converge({**options, "tls": "none"})
    assert plain["changes"] == ["IngressRoute shop-https removed"]
    soon("404", lambda: gateway.says(f"{tenant}.cluster.example", tls=True))
    gone = converge({**options, "domains": [], "state": "absent"})
    assert gone["changed"] and objects(gateway, tenant) == []
    soon("404", lambda: gateway.says(f"{tenant}.cluster.example"))


def test_several_routes_in_one_task(gateway: World, tenant: str) -> None:
    for app in ("shop", "blog"):
        gateway.offer(tenant, app)
    routes = [{"app": app, "domains": [f"{app}.{tenant}.example"]} for app in ("shop", "blog")]
    options = gateway.api.options(tenant=tenant, tls="none", timeout=5, routes=routes)
    said, done = good(options, check=True), good(options)
    assert said == done and len(done["diff"]) == 2
    assert [one["changes"] for one in done["routes"]] == [
        ["IngressRoute shop-http created"],
        ["IngressRoute blog-http created"],
    ]
    for app in ("shop", "blog"):
        soon(f"{app} /x", lambda app=app: gateway.says(f"{app}.{tenant}.example", "/x"))
    again = good(options)
    assert (again["changed"], again["diff"]) == (False, [])

    options.pop("tls")
    failed = go({**options, "routes": [{"app": "none", "domains": ["a.example"]}, {"app": "blog", "state": "absent"}]})
    assert failed["failed"] and failed["changed"] and f"no app none with ports in tenant {tenant}" in failed["msg"]
    assert [finding["option"] for finding in failed["problems"]] == ["routes[0].app"]
    assert objects(gateway, tenant) == ["IngressRoute shop-http"]


def test_paths(gateway: World, tenant: str) -> None:
    domain = f"{tenant}.example.org"
    gateway.offer(tenant, "shop")
    gateway.offer(tenant, "api")
    gateway.offer(tenant, "admin", process="admin", service="admin-admin")
    converge(gateway.route(tenant, "shop", domains=[domain]))
    paths = [{"path": "/api", "strip": True}, {"path": "/api/raw"}, {"path": "/api/version", "type": "exact"}]
    converge(gateway.route(tenant, "api", domains=[domain], paths=paths))
    converge(gateway.route(tenant, "admin", process="admin", domains=[f"*.{domain}"]))
    converge(gateway.route(tenant, "api", name="mail", domains=[f"mail.{domain}"]))
    expected = {
        "/": "shop /",
        "/apix": "shop /apix",
        "/api": "api /",
        "/api/v1?a=b": "api /v1?a=b",
        "/api/raw/x": "api /api/raw/x",
        "/api/version": "api /api/version",
        "/api/version/x": "api /version/x",
    }
    soon(expected, lambda: {path: gateway.says(domain, path) for path in expected})
    soon("admin /", lambda: gateway.says(f"any.{domain}"))
    soon("api /", lambda: gateway.says(f"mail.{domain}"))
    assert gateway.says(f"a.b.{domain}") == "404"


def test_routes_go_with_their_app(gateway: World, tenant: str) -> None:
    api, domain = gateway.api, f"{tenant}.example.org"

    def apps(*names: str, **more: Any) -> dict[str, Any]:
        processes = [{"name": "web", "ports": [8000], "replicas": 0}]
        more = {"image": "x/y:1", "processes": processes, "wait": False, **more}
        return api.options(tenant=tenant, apps=[{"name": name} for name in names], timeout=30, **more)

    good(apps("shop", "next"), module="app")
    weights = [{"app": "shop", "weight": 9}, {"app": "next", "weight": 1}]
    good(gateway.route(tenant, domains=[domain], weights=weights, wait=False))
    found = good(api.options(tenant=tenant, topology="data"), module="app_info")
    assert [[entry["domains"] for entry in app["routes"]] for app in found["apps"]] == [[[domain]]] * 2
    assert {edge["to"] for edge in found["topology"]["edges"]} == {f"{tenant}/shop", f"{tenant}/next"}
    gone: dict[str, Any] = {"state": "absent", "image": None, "processes": None, "wait": True}
    result = go(apps("next", **gone), module="app")
    assert result["failed"] and f"route shop of app {tenant}/shop with it as backend" in result["msg"]
    assert good(apps("next", "shop", **gone), check=True, module="app")["changed"]
    assert good(apps("next", force=True, **gone), module="app")["changed"] and objects(gateway, tenant)
    assert "IngressRoute shop-http" in json.dumps(good(apps("shop", **gone), module="app")["diff"])
    assert objects(gateway, tenant) == []
    assert not good(apps("shop", "next", **gone), module="app")["changed"]


def test_given_certificate(gateway: World, tenant: str) -> None:
    domain = f"{tenant}.example.org"
    gateway.offer(tenant, "shop")
    options = gateway.route(tenant, domains=[domain], redirect="https", tls=issue(gateway.authority, [domain]))
    done = converge(options)
    assert "(not shown)" in json.dumps(done["diff"]) and domain in json.dumps(done["diff"])
    soon("shop /x", lambda: gateway.says(domain, "/x", tls=True))
    status, _body, headers = gateway.ask(domain, "/x?y=1")
    assert (status, headers["Location"]) == (301, f"https://{domain}/x?y=1")
    secret = gateway.api.kube.get("Secret", tenant, "shop.route-tls")
    assert secret is not None and secret["type"] == "kubernetes.io/tls"
    renewed = converge({**options, "tls": issue(gateway.authority, [f"*.{domain.partition('.')[2]}"])})
    assert renewed["changes"] == ["Secret shop.route-tls changed"] and renewed["diff"]
    good({**options, "tls": "none", "redirect": None})
    assert gateway.api.kube.get("Secret", tenant, "shop.route-tls") is None


def served(gateway: World, domain: str) -> int:
    """Return the serial number of the certificate that the gateway shows for a domain."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", gateway.https), 5) as plain:
        found = context.wrap_socket(plain, server_hostname=domain).getpeercert(binary_form=True)
    assert found
    return x509.load_der_x509_certificate(found).serial_number


def test_members_of_another_tenant_do_not_replace_a_certificate(gateway: World, tenant: str) -> None:
    """The gateway does not know which route a certificate belongs to: it selects one for a host by the names in it."""
    api, vic, eve = gateway.api, f"{tenant}-vic", f"{tenant}-eve"
    host, given = f"{vic}.example.org", {}
    for name in (vic, eve):
        good(api.options(name=name, members=[{"name": name, "role": "developer"}]), module="tenant")
        gateway.offer(name, "shop")
        given[name] = issue(gateway.authority, [f"{name}.example.org"])
        good(gateway.route(name, domains=[f"{name}.example.org"], tls=given[name]))
    serial = x509.load_pem_x509_certificate(given[vic]["certificate"].encode()).serial_number
    soon(serial, lambda: served(gateway, host))
    certificate, key = api.authority.issue(eve)
    member = client.connect(
        {"kubeconfig": str(api.write_kubeconfig(f"{eve}.conf", api.authority.pem, certificate, key))}
    )
    soon(True, lambda: _may_list(member, eve, "Secret"), 30)
    forged = issue(gateway.authority, [host, "zzz.example"])
    data = {"stringData": {"tls.crt": forged["certificate"], "tls.key": forged["key"]}}
    path = kinds.path("Secret", eve, "shop.route-tls")
    wanted = {**head("Secret", "shop.route-tls", eve, {}), "type": "kubernetes.io/tls", **data}

    def attempt(method: str, *given: Any, **more: Any) -> int:
        try:
            member.request(method, *given, **more)
        except client.ApiError as error:
            return error.status
        return 200

    assert attempt("PATCH", path, {}, data, content_type=client.MERGE) == 403
    query = {"fieldManager": "eve", "force": "true"}
    assert attempt("PATCH", path, query, wanted, content_type=client.APPLY) == 403
    # Members can delete the certificate of a route, but cannot create it again.
    assert attempt("DELETE", path) == 200
    assert attempt("POST", kinds.path("Secret", eve), {}, wanted) == 403
    assert attempt("PATCH", path, query, wanted, content_type=client.APPLY) == 403
    time.sleep(3)
    assert served(gateway, host) == serial


def test_a_certificate_with_the_name_of_earlier_releases_moves(gateway: World, tenant: str) -> None:
    domain = f"{tenant}.example.org"
    gateway.offer(tenant, "shop")
    options = gateway.route(tenant, domains=[domain], tls=issue(gateway.authority, [domain]))
    good(options)
    kube = gateway.api.kube
    secret = kube.get("Secret", tenant, "shop.route-tls")
    assert secret is not None
    old = {**head("Secret", "shop-tls", tenant, secret["metadata"]["labels"]), "type": secret["type"]}
    kube.apply({**old, "data": secret["data"]}, route.MANAGER)
    change = {"spec": {"tls": {"secretName": "shop-tls"}}}
    path = kinds.path("IngressRoute", tenant, "shop-https")
    kube.request("PATCH", path, {"fieldManager": route.MANAGER}, change, content_type=client.MERGE)
    kube.delete("Secret", tenant, "shop.route-tls")
    done = converge(options)
    moved = ["Secret shop.route-tls created", "IngressRoute shop-https changed", "Secret shop-tls removed"]
    assert done["changes"] == moved
    soon("shop /x", lambda: gateway.says(domain, "/x", tls=True))


def test_redirect_to_another_domain(gateway: World, tenant: str) -> None:
    gateway.offer(tenant, "shop")
    domain = f"{tenant}.cluster.example"
    options = gateway.route(tenant, name="old", domains=[domain], redirect={"to": "new.example.org"})
    converge(options)
    for tls in (False, True):
        soon(301, lambda tls=tls: gateway.ask(domain, "/a/b?c=d", tls)[0])
        location = gateway.ask(domain, "/a/b?c=d", tls)[2]["Location"]
        assert location == f"{'https' if tls else 'http'}://new.example.org/a/b?c=d"
    converge({**options, "redirect": {"to": "new.example.org", "permanent": False}})
    soon(302, lambda: gateway.ask(domain)[0])


def _page(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Return status and body of a page on a port of this machine; status 0 when the answer is not HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (http.client.HTTPException, OSError) as error:
        return 0, repr(error)
    finally:
        connection.close()


def _router(kind: str, name: str, tenant: str, **spec: Any) -> dict[str, Any]:
    entry: dict[str, Any] = head(kind, name, tenant, {})
    entry["spec"] = spec
    return entry


def _served(gateway: World, tenant: str, entries: list[dict[str, Any]]) -> None:
    """Write objects directly, not with app_route, and wait until the gateway has read them."""
    for entry in entries:
        gateway.api.kube.apply(entry, "author")
    converge(gateway.route(tenant, name="last", domains=[f"last.{tenant}.example.org"]))
    soon("shop /", lambda: gateway.says(f"last.{tenant}.example.org"))


@pytest.mark.parametrize(
    "name", ["prometheus@internal", "ping@internal", "noop@internal", "{tenant}-b-shop-8000@kubernetes", "any@file"]
)
def test_objects_cannot_refer_to_what_is_of_another_provider(gateway: World, tenant: str, name: str) -> None:
    gateway.offer(f"{tenant}-b", "shop")
    gateway.offer(tenant, "shop")
    host = f"claims.{tenant}.example.org"
    services = [{"kind": "TraefikService", "name": name.format(tenant=tenant)}]
    rule = {"kind": "Rule", "match": f"Host(`{host}`)", "services": services}
    weighted = _router("TraefikService", "around", tenant, weighted={"services": services})
    by_way = {**rule, "match": f"Host(`way.{host}`)", "services": [{"kind": "TraefikService", "name": "around"}]}
    direct = _router("IngressRoute", "direct", tenant, entryPoints=["web"], routes=[rule])
    indirect = _router("IngressRoute", "indirect", tenant, entryPoints=["web"], routes=[by_way])
    _served(gateway, tenant, [weighted, direct, indirect])
    for path in ("/", "/metrics", "/ping"):
        assert gateway.says(host, path) == "404"
        assert gateway.says(f"way.{host}", path) == "404"


def test_an_ingress_cannot_take_middlewares_of_another_provider(gateway: World, tenant: str) -> None:
    gateway.offer(tenant, "shop")
    host = f"annotated.{tenant}.example.org"
    backend = {"service": {"name": "shop", "port": {"number": 8000}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    rules = [{"host": host, "http": {"paths": paths}}]
    entry = _router("Ingress", "annotated", tenant, ingressClassName="cloudbang", rules=rules)
    wall = _router("Middleware", "wall", f"{tenant}-b", redirectScheme={"scheme": "https", "permanent": True})
    entry["metadata"]["annotations"] = {
        "traefik.ingress.kubernetes.io/router.middlewares": f"{tenant}-b-wall@kubernetescrd"
    }
    gateway.offer(f"{tenant}-b", "shop")
    _served(gateway, tenant, [wall, entry])
    assert gateway.ask(host)[0] != 301


MARKED = {"customResponseHeaders": {"X-Of-Another": "1"}}


@pytest.mark.parametrize("way", ["service", "weighted", "middleware", "chain"])
def test_an_ingressroute_takes_nothing_of_another_namespace(gateway: World, tenant: str, way: str) -> None:
    other = f"{tenant}-b"
    gateway.offer(other, "vault")
    gateway.offer(tenant, "shop")
    host = f"{way}.{tenant}.example.org"
    theirs = {"name": "wall", "namespace": other}
    vault = {"name": "vault", "namespace": other, "port": 8000}
    rule: dict[str, Any] = {"kind": "Rule", "match": f"Host(`{host}`)", "services": [{"name": "shop", "port": 8000}]}
    rule |= {
        "service": {"services": [vault]},
        "weighted": {"services": [{"kind": "TraefikService", "name": "around"}]},
        "middleware": {"middlewares": [theirs]},
        "chain": {"middlewares": [{"name": "around"}]},
    }[way]
    entries = [
        _router("Middleware", "wall", other, headers=MARKED),
        _router("TraefikService", "around", tenant, weighted={"services": [vault]}),
        _router("Middleware", "around", tenant, chain={"middlewares": [theirs]}),
        _router("IngressRoute", "takes", tenant, entryPoints=["web"], routes=[rule]),
    ]
    _served(gateway, tenant, entries)
    status, _body, headers = gateway.ask(host)
    assert (status, headers.get("X-Of-Another")) == (404, None)


@pytest.mark.parametrize("kind", ["Ingress", "IngressRoute"])
def test_the_gateway_follows_no_name_of_a_service(gateway: World, tenant: str, kind: str) -> None:
    gateway.offer(tenant, "shop")
    server = Server("elsewhere")
    gateway.servers.append(server)
    named = _router("Service", "named", tenant, type="ExternalName", externalName="localhost")
    named["spec"]["ports"] = [{"port": server.port}]
    host = f"named.{tenant}.example.org"
    backend = {"service": {"name": "named", "port": {"number": server.port}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    rule = {"kind": "Rule", "match": f"Host(`{host}`)", "services": [{"name": "named", "port": server.port}]}
    entry = {
        "Ingress": _router(
            "Ingress", "follows", tenant, ingressClassName="cloudbang", rules=[{"host": host, "http": {"paths": paths}}]
        ),
        "IngressRoute": _router("IngressRoute", "follows", tenant, entryPoints=["web"], routes=[rule]),
    }[kind]
    _served(gateway, tenant, [named, entry])
    assert gateway.ask(host)[0] == 404 and server.connections == []


def test_routes_do_not_reach_the_ports_of_health_and_metrics(gateway: World, tenant: str) -> None:
    gateway.offer(tenant, "shop")
    ports = ["health", "metrics", "traefik", "ping", "prometheus"]
    target = [{"name": "shop", "port": 8000}]
    everything = {"kind": "Rule", "match": "PathPrefix(`/`)", "priority": 10**6, "services": target}
    backend = {"service": {"name": "shop", "port": {"number": 8000}}}
    ingress = _router("Ingress", "all", tenant, ingressClassName="cloudbang", defaultBackend=backend)
    ingress["metadata"]["annotations"] = {"traefik.ingress.kubernetes.io/router.entrypoints": ",".join(ports)}
    stolen = [
        _router("IngressRoute", "all", tenant, entryPoints=ports, routes=[everything]),
        _router(
            "IngressRouteTCP", "all", tenant, entryPoints=ports, routes=[{"match": "HostSNI(`*`)", "services": target}]
        ),
        ingress,
    ]
    _served(gateway, tenant, stolen)
    assert _page(gateway.health, "/ping") == (200, "OK")
    assert _page(gateway.health, "/probe")[0] == 404
    assert _page(gateway.metrics, "/probe")[0] == 404
    assert "traefik_entrypoint" in _page(gateway.metrics, "/metrics")[1]
    # They count as a claim to all domains, which would block the routes of other tests.
    for entry in stolen:
        gateway.api.kube.delete(entry["kind"], tenant, "all")


def test_headers_that_an_app_reads_as_those_of_the_gateway_are_removed(gateway: World, tenant: str) -> None:
    seen: list[dict[str, str]] = []
    server = gateway.offer(tenant, "shop")
    answer = server.server.RequestHandlerClass.do_GET

    def do_get(page: Any) -> None:
        seen.append(dict(page.headers))
        answer(page)

    server.server.RequestHandlerClass.do_GET = do_get
    host = f"headers.{tenant}.example.org"
    converge(gateway.route(tenant, domains=[host]))
    soon("shop /", lambda: gateway.says(host))
    assert _page(gateway.http, "/", Host=host, X_Forwarded_For="203.0.113.9")[0] == 200
    assert "X-Forwarded-For" in seen[-1]
    assert [name for name in seen[-1] if name.lower().startswith("x_forwarded")] == []


def test_weights_and_cookies(gateway: World, tenant: str) -> None:
    domain = f"{tenant}.example.org"
    for app in ("shop", "next"):
        gateway.offer(tenant, app)
    shares = [{"app": "shop", "weight": 90}, {"service": "next", "weight": 10}]
    options = gateway.route(tenant, domains=[domain], weights=shares)
    converge(options)
    soon("shop /", lambda: gateway.says(domain))
    seen = Counter(gateway.says(domain).split()[0] for _number in range(200))
    print(f"weights 90 and 10 of 200 requests: {dict(seen)}")
    assert seen["shop"] + seen["next"] == 200 and 10 <= seen["next"] <= 30
    even = [{**share, "weight": 50} for share in shares]
    converge({**options, "weights": even, "sticky": {"cookie": "stay"}})
    soon(True, lambda: "stay-app=" in gateway.ask(domain)[2]["Set-Cookie"])
    for _client in range(4):
        _status, first, headers = gateway.ask(domain)
        assert "stay=" in headers["Set-Cookie"]
        again = {gateway.ask(domain, cookie=headers["Set-Cookie"])[1] for _number in range(10)}
        assert again == {first}
    converge({**options, "weights": [{**shares[0], "weight": 0}, shares[1]], "sticky": False})
    soon({"next /"}, lambda: {gateway.says(domain) for _number in range(10)})
    converge(gateway.route(tenant, domains=[domain]))
    assert objects(gateway, tenant) == ["IngressRoute shop-http", "IngressRoute shop-https"]


def told(protocol: str, port: int) -> str:
    """Return the answer of the server behind a port of the gateway."""
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as connection:
        connection.settimeout(0.3)
        try:
            connection.connect(("127.0.0.1", port))
            if protocol == "UDP":
                connection.send(b"who?")
            return connection.recv(100).decode()
        except OSError:
            return ""


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_ports(gateway: World, tenant: str, protocol: str) -> None:
    numbers = gateway.tcp if protocol == "TCP" else gateway.udp
    for app in ("first", "second"):
        gateway.offer(tenant, app, protocol)
    asked = converge(gateway.route(tenant, "second", ports=[{"port": numbers[0], "protocol": protocol}]))
    assert asked["route"]["ports"] == [{"port": numbers[0], "protocol": protocol, "target": None}]
    given = converge(gateway.route(tenant, "first", ports=[{"protocol": protocol, "target": "main"}]))
    assert given["route"]["ports"][0]["port"] == numbers[1]
    soon("second", lambda: told(protocol, numbers[0]))
    soon("first", lambda: told(protocol, numbers[1]))
    more = gateway.route(tenant, "first", name="more", ports=[{"protocol": protocol}])
    refused(more, f"no free {protocol} port", f"gateway_{protocol.lower()}_ports")
    more["ports"] = [{"protocol": protocol, "port": numbers[0]}]
    refused(more, f"{numbers[0]}/{protocol}, which second of tenant {tenant} has")
    more["ports"] = [{"protocol": protocol, "port": 1}]
    refused(more, f"1/{protocol}", f"gateway_{protocol.lower()}_ports")
    for app in ("first", "second"):
        good(gateway.route(tenant, app, state="absent"))
    soon("", lambda: told(protocol, numbers[0]))
    assert objects(gateway, tenant) == []


def test_ports_asked_for_at_the_same_time(gateway: World, tenant: str) -> None:
    tenants = [f"{tenant}-{number}" for number in range(4)]
    for name in tenants:
        gateway.offer(name, "shop", "TCP")
    given = [gateway.route(name, ports=[{}]) for name in tenants]
    clients = [client.connect(parse.connection(options)) for options in given]

    def ask(number: int) -> tuple[list[int], str]:
        """Return the ports that a route got, or why it got none."""
        try:
            outcome = route.run(Context(clients[number]), parse.parse("app_route", given[number]))
        except Invalid as error:
            return [], str(error)
        if outcome.failed:
            return [], outcome.message
        return [port["port"] for port in outcome.values["route"]["ports"]], ""

    with ThreadPoolExecutor(len(tenants)) as pool:
        answers = list(pool.map(ask, range(len(tenants))))
    told_to = [number for numbers, _why in answers for number in numbers]
    found = [number for entry in gateway.api.kube.find("IngressRouteTCP") for number in [port_of(entry)] if number]
    assert sorted(found) == [("TCP", number) for number in sorted(set(told_to))]
    assert len(told_to) == len(found)
    for numbers, why in answers:
        assert numbers or "has just been taken by" in why or "no free TCP port" in why, why
    for name in tenants:
        good(gateway.route(name, state="absent"))


def test_passthrough(gateway: World, tenant: str, tmp_path: Path) -> None:
    domain = f"{tenant}.example.org"
    server = gateway.offer(tenant, "vault")
    given = issue(gateway.authority, [domain])
    for name, text in given.items():
        (tmp_path / name).write_text(text)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    converge(gateway.route(tenant, "vault", domains=[domain], tls="passthrough"))
    soon("vault /", lambda: gateway.says(domain, tls=True))


def test_the_gateway_follows_endpoints(gateway: World, tenant: str) -> None:
    domain = f"{tenant}.example.org"
    first = gateway.offer(tenant, "shop")
    second = Server("newer")
    gateway.servers.append(second)
    converge(gateway.route(tenant, domains=[domain]))
    soon("shop /", lambda: gateway.says(domain))
    times = []
    for name, server in (("newer", second), ("shop", first), ("newer", second)):
        gateway.endpoints(tenant, "shop", [server])
        times.append(soon(f"{name} /", lambda name=name: gateway.says(domain)))
    gateway.endpoints(tenant, "shop", [second], ready=False)
    times.append(soon("503", lambda: gateway.says(domain)))
    print("the gateway follows an endpoint after " + ", ".join(f"{seconds:.2f} s" for seconds in times))
    assert max(times) < 5
    gateway.api.kube.delete("Service", tenant, "shop")
    soon("404", lambda: gateway.says(domain))


def test_no_failed_request_while_pods_are_replaced(gateway: World, tenant: str) -> None:
    """A pod that was removed from the endpoints serves for the time of `drain`, and then closes its connections."""
    domain = f"{tenant}.example.org"
    old = gateway.offer(tenant, "shop")
    converge(gateway.route(tenant, domains=[domain]))
    soon("shop /", lambda: gateway.says(domain))
    failures: list[str] = []
    answers: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.http, timeout=5)
        while not stop.wait(0.01):
            try:
                connection.request("POST", "/", body=b"order", headers={"Host": domain})
                answer = connection.getresponse()
                answers[answer.read().decode()] += 1
                if answer.status != 200:
                    failures.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection.close()

    clients = [threading.Thread(target=ask) for _number in range(4)]
    for one in clients:
        one.start()
    for number in range(4):
        new = Server(f"shop{number}")
        gateway.servers.append(new)
        gateway.endpoints(tenant, "shop", [new])
        soon(True, lambda number=number: answers[f"shop{number} /"] > 3)
        time.sleep(0.5)
        old.close()
        gateway.servers.remove(old)
        old = new
    stop.set()
    for one in clients:
        one.join()
    print(f"4 replacements under {sum(answers.values())} requests: {len(failures)} failed")
    assert failures == []


def test_the_short_form_is_served_too(gateway: World, nodes: Nodes, tenant: str) -> None:
    """The Ingress of an app serves it over HTTP and HTTPS, and on no other port of the gateway."""
    domain = f"{tenant}.cluster.example"
    deployed = {"image": "x/y:1", "processes": [{"name": "web", "ports": [8000]}], "domains": [domain], "timeout": 30}
    good(gateway.api.options(name="shop", tenant=tenant, **deployed), module="app")
    server = Server("shop")
    gateway.servers.append(server)
    gateway.endpoints(tenant, "shop", [server], port="http")
    for tls in (False, True):
        soon("shop /", lambda tls=tls: gateway.says(domain, tls=tls))
    with socket.create_connection(("127.0.0.1", gateway.tcp[0]), 5) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {domain}\r\n\r\n".encode())
        assert b" 404 " in connection.recv(100)


def test_a_refused_connection_is_tried_once_more(gateway: World, tenant: str) -> None:
    """Two Services share the requests, and nothing listens at the endpoint of one of them."""
    domain = f"{tenant}.example.org"
    for app in ("shop", "gone"):
        gateway.offer(tenant, app)
    gateway.servers[-1].close()
    gateway.servers.pop()
    shares = [{"app": "shop", "weight": 1}, {"app": "gone", "weight": 1}]
    good(gateway.route(tenant, domains=[domain], weights=shares))
    soon("shop /", lambda: gateway.says(domain))
    assert Counter(gateway.says(domain) for _number in range(20)) == {"shop /": 20}


def test_waits_for_endpoints(gateway: World, tenant: str) -> None:
    server = gateway.offer(tenant, "shop")
    gateway.endpoints(tenant, "shop", [server], ready=False)
    options = {**gateway.route(tenant, domains=[f"{tenant}.example.org"]), "timeout": 1}
    result = go(options)
    assert result["failed"] and result["changed"]
    assert "no ready endpoint of Service shop" in result["msg"]
    later = threading.Timer(1, gateway.endpoints, (tenant, "shop", [server]))
    later.start()
    start = time.monotonic()
    assert not good({**options, "timeout": 20})["changed"]
    assert 0.5 < time.monotonic() - start < 5
    later.join()


def test_what_others_have(gateway: World, nodes: Nodes, tenant: str) -> None:
    domain, other = f"{tenant}.example.org", tenant + "-b"
    for space, app in ((tenant, "shop"), (tenant, "blog"), (other, "shop")):
        gateway.offer(space, app)
    good(gateway.route(tenant, domains=[domain], paths=[{"path": "/shop"}]))
    refused(gateway.route(other, domains=[domain]), f"{domain}/shop, which shop of tenant {tenant} has")
    refused(gateway.route(tenant, "blog", domains=[domain], paths=[{"path": "/shop"}]), "which shop of tenant")
    good(gateway.route(tenant, "blog", domains=[domain]))
    deployed = {"image": "x/y:1", "wait": False, "processes": [{"name": "web", "ports": [8000]}], "domains": [domain]}
    theirs = go(gateway.api.options(name="app", tenant=other, **deployed), module="app")
    assert theirs["failed"] and f"of tenant {tenant} has" in theirs["msg"]
    ours = go(gateway.api.options(name="app", tenant=tenant, **deployed), module="app")
    assert ours["failed"] and f"{domain}, which blog of tenant {tenant} has" in ours["msg"]
    good(gateway.api.options(name="app", tenant=tenant, **{**deployed, "domains": ["app." + domain]}), module="app")
    refused(gateway.route(other, domains=["app." + domain]), f"which app of tenant {tenant} has")
    assert objects(gateway, other) == []


def test_a_route_makes_no_release(gateway: World, nodes: Nodes, tenant: str) -> None:
    options = gateway.api.options(
        name="shop", tenant=tenant, image="x/y:1", processes=[{"name": "web", "ports": [8000]}], timeout=30
    )
    good(options, module="app")
    good({**gateway.route(tenant, domains=[f"{tenant}.example.org"]), "wait": False})
    assert not good(options, module="app")["changed"]
    (seen,) = good(gateway.api.options(name="shop", tenant=tenant), module="app_info")["apps"]
    assert [release["version"] for release in seen["releases"]] == [1]


def test_refused_options(gateway: World, tenant: str) -> None:
    gateway.offer(tenant, "shop")
    domain = f"{tenant}.example.org"
    other = issue(gateway.authority, [domain])
    table: list[tuple[dict[str, Any], str]] = [
        ({"app": "none", "domains": [domain]}, f"no app none with ports in tenant {tenant}"),
        ({"domains": [domain], "process": "cron"}, "one with ports: web"),
        ({"domains": [domain], "weights": [{"service": "none", "weight": 1}]}, "no Service none"),
        ({"ports": [{"port": gateway.tcp[0], "target": 1}]}, "without a TCP port 1"),
        ({"ports": [{"port": gateway.udp[0], "protocol": "UDP"}]}, "without a UDP port"),
        ({"domains": [domain], "tls": {**issue(gateway.authority, ["a.example"])}}, f"also valid for {domain}"),
        ({"domains": [domain], "tls": issue(gateway.authority, [domain], -9, -2)}, "expired on"),
        ({"domains": [domain], "tls": issue(gateway.authority, [domain], 1, 2)}, "valid from"),
        ({"domains": [domain], "tls": {**issue(gateway.authority, [domain]), "key": other["key"]}}, "another certif"),
    ]
    for more, text in table:
        refused({**gateway.route(tenant), **more}, text)
    assert objects(gateway, tenant) == []
    taken = head("IngressRoute", "shop-http", tenant, {})
    taken["spec"] = {"routes": [{"kind": "Rule", "match": "Host(`x.invalid`)"}]}
    gateway.api.kube.apply(taken, "test")
    refused(gateway.route(tenant, domains=[domain]), "a IngressRoute shop-http in its namespace that is not of this")
    gateway.api.kube.delete("IngressRoute", tenant, "shop-http")


def test_credentials_that_see_one_tenant(gateway: World, tenant: str) -> None:
    gateway.offer(tenant, "shop")
    binding = head("RoleBinding", "one", tenant, {})
    binding["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "one"}]
    gateway.api.kube.apply(binding, "test")
    certificate, key = gateway.api.authority.issue("one")
    where = gateway.api.write_kubeconfig(f"{tenant}.conf", gateway.api.authority.pem, certificate, key)
    options = {**gateway.route(tenant, domains=[f"{tenant}.example.org"]), "kubeconfig": str(where)}
    soon(False, lambda: bool(go(options).get("failed")))
    result = good(options)
    assert not result["changed"] and "cannot be seen" in result["warnings"][0]
    refused({**options, "name": "p", "domains": [], "ports": [{}]}, "credentials that can list them in all namespaces")
    refused({**options, "tenant": tenant + "-c"}, "403")


def test_namespace_that_is_gone(gateway: World, tenant: str) -> None:
    refused(gateway.route(tenant, domains=[f"{tenant}.example.org"]), f"no app shop with ports in tenant {tenant}")
    assert not good(gateway.route(tenant, state="absent"))["changed"]


def test_members_of_a_tenant_remove_routes_and_make_none(gateway: World, tenant: str, tmp_path: Path) -> None:
    api = gateway.api
    for role in ("owner", "developer"):
        name = f"{tenant}-{role}"
        member = {"name": "ann", "role": role}
        good(api.options(name=name, members=[member]), module="tenant")
        gateway.offer(name, "shop")
        path = str(tmp_path / f"{role}.conf")
        good(api.options(tenant=name, member="ann", path=path), module="tenant_kubeconfig")
        kube = client.connect({"kubeconfig": path})
        soon(True, lambda kube=kube, name=name: _may_list(kube, name), 30)
        options = {**gateway.route(name, domains=[f"{name}.example.org"]), "kubeconfig": path}
        refused(options, "only administrators create routes: use domains of the app, or ask one to run app_route")
        assert objects(gateway, name) == []
        good({**options, "kubeconfig": str(api.kubeconfig)})
        refused({**options, "paths": [{"path": "/a", "strip": True}]}, "only administrators create routes")
        assert good({"kubeconfig": path, "name": "shop", "tenant": name, "state": "absent"})["changed"]
        assert objects(gateway, name) == []


def _may_list(kube: client.Kube, tenant: str, kind: str = "IngressRoute") -> bool:
    try:
        return kube.find(kind, tenant) == [] or kind != "IngressRoute"
    except client.ApiError as error:
        assert error.status == 403
        return False
