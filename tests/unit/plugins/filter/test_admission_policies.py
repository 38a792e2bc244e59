# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that makes admission policies, as the role's template calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.cloudbang.platform.plugins.filter import admission

ROLE = Path(__file__).resolve().parents[4] / "roles/admission"


def test_the_template_of_the_role_has_all_of_them() -> None:
    environment = jinja2.Environment(trim_blocks=True)
    environment.filters["cloudbang.platform.admission_policies"] = admission.admission_policies
    environment.filters["to_json"] = environment.filters["tojson"]
    text = environment.from_string((ROLE / "templates/policies.yaml.j2").read_text("utf-8"))
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))
    rendered = list(yaml.safe_load_all(text.render(cloudbang_registry="registry.example.org:5000", **defaults)))
    assert rendered == admission.admission_policies("registry.example.org:5000", ["shared/"])
    assert len(rendered) > 20


@pytest.mark.parametrize("shared", ["shared/", [""], ["/"], [7, ""]])
def test_what_would_let_in_everything_is_refused(shared: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="shared images: found"):
        admission.admission_policies("registry.example.org:5000", shared)
