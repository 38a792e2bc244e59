# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that talk to a Kubernetes API."""

from __future__ import annotations


class ModuleDocFragment:
    """Options to reach and authenticate to the API; names and variables are those of kubernetes.core."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig, on the controller or, with O(execute=target), on the target.
      - Without it, E(K8S_AUTH_KUBECONFIG), then E(KUBECONFIG), then C(~/.kube/config), then the service account of the
        pod it runs in.
    type: path
  context:
    description:
      - Context of the kubeconfig to use instead of its current one.
      - Without it, E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description:
      - Address of the API, such as V(https://10.0.0.100:6443), instead of that of a kubeconfig.
      - Without it, E(K8S_AUTH_HOST).
    type: str
  api_key:
    description:
      - Bearer token to authenticate with.
      - Without it, E(K8S_AUTH_API_KEY).
    type: str
  ca_cert:
    description:
      - Path of CA certificates to verify the API's certificate.
      - Without it, E(K8S_AUTH_SSL_CA_CERT).
    type: path
  client_cert:
    description:
      - Path of a client certificate to authenticate with.
      - Without it, E(K8S_AUTH_CERT_FILE).
    type: path
  client_key:
    description:
      - Path of the client certificate's key.
      - Without it, E(K8S_AUTH_KEY_FILE).
    type: path
  validate_certs:
    description:
      - Whether to verify the API's certificate. By default as in the kubeconfig, else V(true).
      - Without it, E(K8S_AUTH_VERIFY_SSL).
    type: bool
  request_timeout:
    description:
      - Seconds to wait for the answer to one request.
      - Requests that are safe to repeat are retried for some seconds, so that a failover of the API is not an error.
    type: int
    default: 30
  execute:
    description:
      - Where the work is done.
      - V(controller) runs the module in the controller's process, which needs the Python library C(kubernetes) there.
        It is fast, and gives the same result for every host of the play.
      - V(target) runs the module on the host of the task, if only that host reaches the API. It needs the library
        there.
    type: str
    choices: [controller, target]
    default: controller
requirements:
  - kubernetes >= 24 (Python library, where the work is done)
"""
