"""`.env.example` documents every variable that the settings read, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from integrations.registry import global_view, providers

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"DJANGO_SETTINGS_MODULE", "SIMULATOR_STATE_DIR"}
"""Read outside of the settings."""


def documented() -> set[str]:
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def read_by_settings() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "integrations_site" / "settings").glob("*.py"):
        found |= set(re.findall(r'\benv\.\w+\(\s*"([A-Z0-9_]+)"', path.read_text()))
    return found


def test_the_list_is_complete_and_has_nothing_else() -> None:
    assert len(read_by_settings()) > 25
    own = {name for name in documented() if not name.startswith("PROVIDER_")}
    assert own == read_by_settings() | ELSEWHERE


def test_the_example_of_an_installation_wide_account_is_right() -> None:
    example = {name: "x1" for name in documented() if name.startswith("PROVIDER_")}
    slug = next(slug for slug, each in providers().items() if each.is_global and f"PROVIDER_{slug.upper()}_USERNAME" in example)
    view = global_view(providers()[slug], 1, {**example, f"PROVIDER_{slug.upper()}_ENVIRONMENT": "production"})
    assert view is not None
    assert (view.username, view.api_key) == ("x1", "x1")


@pytest.mark.parametrize("name", sorted(documented()))
def test_each_has_a_sentence_before_it(name: str) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if re.match(rf"#?{name}=", line))
    block = lines[max(0, at - 8) : at]
    prose = [line for line in block if line.startswith("# ") and not line.startswith("# ---")]
    assert prose, f"{name} is not explained"
