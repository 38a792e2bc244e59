#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Route requests from the gateway to an app."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_route
short_description: Route requests from the gateway to an app
version_added: 0.1.0
description:
  - Creates, changes and removes a route, which sends requests for domains and paths, or connections to ports of the
    gateway, to an app.
  - O(cloudbang.platform.app#module:domains) is the short form for an app that serves a whole domain. A route is for
    paths, certificates, redirects, ports, and for requests shared between apps.
  - A route is not part of a release. Deploying, scaling and rolling back do not change it, and it creates no release.
  - A domain belongs to one tenant, and each of its paths to one app. A conflict is an error that names the other route.
  - A route consists of Traefik objects with the label C(cloudbang.platform/route).
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: full
    description: Keys are never shown. Of a certificate, only domains, expiry date and digest are shown.
options:
  name: &name
    description: Name of the route, unique in the tenant. By default that of the app.
    type: str
  app: &app
    description: Name of the app that the route belongs to and sends requests to.
    type: str
  tenant: &tenant
    description: Name of its tenant.
    type: str
  process: &process
    description: Process of the app that gets the requests. By default its main process.
    type: str
  state: &state
    description: Whether the route exists. V(absent) needs only O(name) or O(app), and O(tenant).
    type: str
    choices: [present, absent]
    default: present
  domains: &domains
    description:
      - Domains of the requests, such as V(shop.example.org), or V(*.example.org) for every name in a domain without a
        route of its own.
    type: list
    elements: str
    default: []
  paths: &paths
    description: Paths of the requests. By default all paths. The longest matching path wins.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path, such as V(/api).
        type: str
        required: true
      type:
        description:
          - V(prefix) matches the path and everything below it, V(exact) only the path itself.
        type: str
        choices: [prefix, exact]
        default: prefix
      strip:
        description: Whether to remove this path from the request before the app gets it.
        type: bool
        default: false
  tls: &tls
    description:
      - TLS of the domains. A text is short for a mapping with that O(tls.mode).
      - Without it the mode is V(cluster).
    type: dict
    suboptions:
      mode:
        description:
          - V(cluster) serves HTTP and, with the gateway's certificate, HTTPS. The gateway's authority signs this
            certificate; its domains are C(gateway_domains) of the role P(cloudbang.platform.gateway#role).
          - V(none) serves HTTP only.
          - V(passthrough) forwards connections unchanged to the app, which has the certificate. The gateway reads only
            the domain name from them.
        type: str
        choices: [none, cluster, passthrough]
      certificate:
        description:
          - The certificate in PEM format, followed by those of intermediate authorities, instead of O(tls.mode).
          - It must be valid now, match O(tls.key) and cover every domain of the route.
        type: str
      key:
        description: Its private key in PEM format, without password. It is stored in a Secret.
        type: str
  redirect: &redirect
    description:
      - V(https) redirects HTTP requests to HTTPS.
      - A mapping redirects every request to another domain. Its C(to) is that domain, and C(permanent), V(true) by
        default, is whether browsers may cache the redirect.
    type: raw
  ports: &ports
    description: Ports of the gateway for protocols other than HTTP.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description:
          - One of the ports in C(gateway_tcp_ports) or C(gateway_udp_ports) of the role
            P(cloudbang.platform.gateway#role).
          - By default the port that the route already has, else the lowest free one. See RV(route.ports).
        type: int
      protocol:
        description: Protocol of the port.
        type: str
        choices: [TCP, UDP]
        default: TCP
      target:
        description: Port of the app, by number or name. By default its first port with the protocol.
        type: raw
  weights: &weights
    description:
      - Shares the requests between backends, instead of sending all to O(app).
      - A backend gets its weight divided by the sum of all weights.
    type: list
    elements: dict
    suboptions:
      app:
        description: Name of an app of the tenant.
        type: str
      process:
        description: Process of that app. By default its main one.
        type: str
      service:
        description: Name of a Service of the tenant, instead of an app.
        type: str
      weight:
        description: Its weight, 0 to 1000.
        type: int
        required: true
  sticky: &sticky
    description:
      - Whether a client's requests go to the same pod, by a cookie, as long as the pod is ready.
      - A mapping names the cookie in C(cookie). Its name is V(cloudbang) by default.
    type: raw
  routes:
    description:
      - Several routes, one after the other. Each has the options above. Options given outside of the list are the
        defaults of its routes.
      - If one route fails, the others are still processed, and the task fails.
    type: list
    elements: dict
    suboptions:
      name: *name
      app: *app
      tenant: *tenant
      process: *process
      state: *state
      domains: *domains
      paths: *paths
      tls: *tls
      redirect: *redirect
      ports: *ports
      weights: *weights
      sticky: *sticky
  wait:
    description: Whether to wait until every backend with a weight has a ready endpoint.
    type: bool
    default: true
  timeout:
    description: Seconds to wait.
    type: int
    default: 300
requirements:
  - cryptography (Python library, for certificates)
seealso:
  - module: cloudbang.platform.app
"""

EXAMPLES = r"""
- name: Route the API of the shop to its own process, with the shop's certificate
  cloudbang.platform.app_route:
    name: shop-api
    app: shop
    tenant: acme
    process: api
    domains: [shop.example.org]
    paths:
      - path: /api
        strip: true
    tls:
      certificate: "{{ lookup('ansible.builtin.file', 'shop.crt') }}"
      key: "{{ vault_shop_key }}"
    redirect: https

- name: Route requests to two apps, both with HTTPS only
  cloudbang.platform.app_route:
    tenant: acme
    redirect: https
    routes:
      - {app: shop, domains: [shop.example.org]}
      - {app: blog, domains: [blog.example.org]}

- name: Send a tenth of the requests to the new version
  cloudbang.platform.app_route:
    app: shop
    tenant: acme
    domains: [shop.example.org]
    weights:
      - {app: shop, weight: 90}
      - {app: shop-next, weight: 10}

- name: Redirect the old domain to the new one
  cloudbang.platform.app_route:
    name: old-shop
    app: shop
    tenant: acme
    domains: [old.example.org]
    redirect: {to: shop.example.org}

- name: Open a port for the message broker
  cloudbang.platform.app_route:
    app: broker
    tenant: acme
    ports:
      - target: 1883
  register: broker
"""

RETURN = r"""
routes:
  description: The result of each of O(routes), in the same order, with RV(route) and RV(changes) as for one route.
  returned: when there are O(routes)
  type: list
  elements: dict
route:
  description: The route as it is, or in check mode would be.
  returned: when the options are accepted
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    tenant:
      description: Its tenant.
      type: str
    app:
      description: The app it belongs to.
      type: str
    state:
      description: Whether it exists.
      type: str
    domains:
      description: Its domains.
      type: list
      elements: str
    urls:
      description: URLs of the route, one for each domain and path.
      type: list
      elements: str
    tls:
      description: V(none), V(cluster), V(certificate) or V(passthrough).
      type: str
    ports:
      description: Ports of the gateway that belong to it.
      type: list
      elements: dict
      contains:
        port:
          description: Number of the gateway's port.
          type: int
        protocol:
          description: V(TCP) or V(UDP).
          type: str
        target:
          description: Port of the app, as given in the task.
          type: raw
changes:
  description: Objects that were created, changed or removed, such as C(IngressRoute shop-http created).
  returned: when the options are accepted
  type: list
  elements: str
problems:
  description: Errors in the options.
  returned: when options are refused
  type: list
  elements: dict
  contains:
    option:
      description: Name of the option.
      type: str
    found:
      description: Its value.
      type: str
    wanted:
      description: What is allowed instead.
      type: str
unknown:
  description: Whether the API's answer to a change was lost, so that the change may have been made or not.
  returned: when it was lost
  type: bool
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("app_route")


if __name__ == "__main__":
    main()
