# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Applications on Kubernetes: specification, rendering, releases, rollout and the logic of the app modules.

`arguments` has the options, `options` checks them against it, `parse` has the further checks of each module. `spec`,
`render`, `plan` and the judging in `rollout` are pure; `client` talks to the API; `ledger` keeps the releases.
`runner` names the file that carries out each module.
"""

from __future__ import annotations
