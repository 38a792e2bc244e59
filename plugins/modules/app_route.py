#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lead requests from the gateway to an app."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_route
short_description: Lead requests from the gateway to an app
version_added: 0.1.0
description:
  - Makes, changes and removes a route, which leads requests for domains and paths, or connections to ports of the
    gateway, to an app.
  - O(cloudbang.platform.app#module:domains) is the short form for an app that takes all of a domain. A route is for
    paths, certificates, redirects, ports, and for requests that two apps share.
  - A route is no part of a release. Deploying, scaling and going back leave it alone, and it makes no release.
  - A domain belongs to one tenant, and each path of it to one app. What another has is an error that names it.
  - It consists of objects of Traefik, labelled C(cloudbang.platform/route).
author:
  - Cloudbang Team (@cloudbang)
extends_documentation_fragment:
  - cloudbang.platform.attributes
  - cloudbang.platform.kubernetes
attributes:
  diff_mode:
    support: full
    description: A key is never shown, and a certificate only by its domains, its last day and its digest.
options:
  name: &name
    description: Name of the route, which is its own in the tenant. By default that of the app.
    type: str
  app: &app
    description: Name of the app that the route belongs to and leads to.
    type: str
  tenant: &tenant
    description: Name of its tenant.
    type: str
  process: &process
    description: Process of the app to lead to. By default its main one, which its address is for.
    type: str
  state: &state
    description: Whether the route is to be there. V(absent) needs no more than O(name) or O(app), and O(tenant).
    type: str
    choices: [present, absent]
    default: present
  domains: &domains
    description:
      - Domains to take requests for, such as V(shop.example.org), or V(*.example.org) for every name in a domain that
        has no route of its own.
    type: list
    elements: str
    default: []
  paths: &paths
    description: Paths to take requests for. By default all of them. The longest path that fits a request is taken.
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
          - V(prefix) is for the path and everything below it, V(exact) for nothing but the path.
        type: str
        choices: [prefix, exact]
        default: prefix
      strip:
        description: Whether the app gets the request without this path.
        type: bool
        default: false
  tls: &tls
    description:
      - How domains are served with TLS. A text is short for a mapping with that O(tls.mode).
      - Without it the mode is V(cluster).
    type: dict
    suboptions:
      mode:
        description:
          - V(cluster) serves HTTP and, with the certificate of the gateway, HTTPS. The authority of the gateway
            has signed it; its domains are C(gateway_domains) of the role P(cloudbang.platform.gateway#role).
          - V(none) serves HTTP only.
          - V(passthrough) gives the connections as they are to the app, which has the certificate. The gateway takes
            only the name of the domain from them.
        type: str
        choices: [none, cluster, passthrough]
      certificate:
        description:
          - The certificate in PEM form, followed by those of the authorities between it and the root, instead of
            O(tls.mode).
          - It has to be valid now, fit O(tls.key) and be for every domain of the route.
        type: str
      key:
        description: Its private key in PEM form, without password. It is kept in a Secret.
        type: str
  redirect: &redirect
    description:
      - V(https) sends requests that come by HTTP to the same place by HTTPS.
      - A mapping sends every request to another domain. Its C(to) is that domain, and C(permanent), V(true) by default,
        says whether browsers may remember it.
    type: raw
  ports: &ports
    description: Ports of the gateway for what is not HTTP.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description:
          - One of the ports in C(gateway_tcp_ports) or C(gateway_udp_ports) of the role
            P(cloudbang.platform.gateway#role).
          - By default the one that the route has already, else the lowest that is free. See RV(route.ports).
        type: int
      protocol:
        description: Protocol of the port.
        type: str
        choices: [TCP, UDP]
        default: TCP
      target:
        description: Port of the app, by number or name. By default the first of the protocol.
        type: raw
  weights: &weights
    description:
      - Shares the requests between backends, instead of giving all to O(app).
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
      - Whether requests of a client stay at the same pod, by a cookie, as long as it is ready.
      - A mapping names the cookie in C(cookie). Its name is V(cloudbang) by default.
    type: raw
  routes:
    description:
      - Several routes, one after the other. Each has the options above. Those given beside the list hold for every
        route that does not set them itself.
      - When one route fails the others are still carried out, and the task fails.
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
- name: Lead the API of the shop to its own process, with the shop's certificate
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

- name: Routes of two apps, both with HTTPS only
  cloudbang.platform.app_route:
    tenant: acme
    redirect: https
    routes:
      - {app: shop, domains: [shop.example.org]}
      - {app: blog, domains: [blog.example.org]}

- name: Give the new version a tenth of the requests
  cloudbang.platform.app_route:
    app: shop
    tenant: acme
    domains: [shop.example.org]
    weights:
      - {app: shop, weight: 90}
      - {app: shop-next, weight: 10}

- name: Send the old domain to the new one
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
  description: The route as it is, or would be.
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
      description: Whether it is there.
      type: str
    domains:
      description: Its domains.
      type: list
      elements: str
    urls:
      description: Addresses of what it leads to, one for each domain and path.
      type: list
      elements: str
    tls:
      description: V(none), V(cluster), V(certificate) or V(passthrough).
      type: str
    ports:
      description: The gateway's ports that are its own.
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
          description: Port of the app as it was asked for.
          type: raw
changes:
  description: What was made, changed or removed, such as C(IngressRoute shop-http created).
  returned: when the options are accepted
  type: list
  elements: str
problems:
  description: Everything that is wrong with the options.
  returned: when options are refused
  type: list
  elements: dict
  contains:
    option:
      description: The option.
      type: str
    found:
      description: What it has.
      type: str
    wanted:
      description: What it should have.
      type: str
unknown:
  description: Whether the answer to a change got lost, so that it may have been made or not.
  returned: when it did
  type: bool
"""

from ansible_collections.cloudbang.platform.plugins.module_utils.apps.runner import on_target


def main() -> None:
    """Run on the target; the action plugin calls it only with `execute: target`."""
    on_target("app_route")


if __name__ == "__main__":
    main()
