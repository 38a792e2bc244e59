# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Applications on Kubernetes: specification, rendering, releases, rollout and the logic of the app modules.

`arguments`, `spec`, `render` and `rollout` are pure; `client` talks to the API; `ledger` keeps the releases;
`runner` decides and acts for each module.
"""

from __future__ import annotations
