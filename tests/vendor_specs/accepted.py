"""Where our providers differ from their vendors' descriptions on purpose. Each entry fails once it is no longer needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.vendor_specs.loader import SpecViolation, description_of


@dataclass(frozen=True, slots=True)
class Accepted:
    """A difference: violations of `slug` that match `pattern` are let pass. `example` makes one, as proof of the need."""

    slug: str
    pattern: str
    reason: str
    example: Callable[[], None]

    def covers(self, slug: str, violation: SpecViolation) -> bool:
        return slug == self.slug and re.search(self.pattern, str(violation)) is not None


def _described(slug: str, method: str, path: str) -> None:
    """Look a path up in a vendor's description; raises `SpecViolation` where it is not there."""
    found = description_of(slug)
    if found is None:
        raise SpecViolation(f"{slug}: {method} {path} is not described")
    found.match(method, path)


ACCEPTED: tuple[Accepted, ...] = (
    Accepted(
        "stripe",
        r"^stripe: (GET|POST) /(js/v3/|authenticate/\w+) is not described$",
        "pages and the script for the payer's browser: served beside the API, so not in its description",
        lambda: _described("stripe", "GET", "/js/v3/"),
    ),
)

# The component of a description that a provider's webhooks must fit; others have none in their file.
WEBHOOK_COMPONENTS: dict[str, str] = {"stripe": "event"}
