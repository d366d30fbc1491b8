"""Where our providers differ from their vendors' descriptions on purpose. Each entry fails once it is no longer needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.vendor_specs.loader import SpecViolation


@dataclass(frozen=True, slots=True)
class Accepted:
    """A difference: violations of `slug` that match `pattern` are let pass. `example` makes one, as proof of the need."""

    slug: str
    pattern: str
    reason: str
    example: Callable[[], None]

    def covers(self, slug: str, violation: SpecViolation) -> bool:
        return slug == self.slug and re.search(self.pattern, str(violation)) is not None


ACCEPTED: tuple[Accepted, ...] = ()

# The component of a description that a provider's webhooks must fit; others have none in their file.
WEBHOOK_COMPONENTS: dict[str, str] = {"stripe": "event"}
