"""The other gateways, through the public API: webhooks registered, and at each a payment whose page anybody may pay on."""

import uuid
from dataclasses import dataclass
from typing import Any

from integrations_site.demo.client import Client
from integrations_site.demo.report import Report, StepFailedError
from integrations_site.demo.webhooks import register

AMOUNTS = {"KES": 150_000, "USD": 2_500}


@dataclass
class PayerPages:
    """One unpaid payment at each gateway that has a page for the payer. `hub` carries the school's API key."""

    hub: Client
    simulator: Client
    report: Report

    def run(self) -> list[tuple[str, str]]:
        """Return (gateway, address) of each page. Raises StepFailedError."""
        pages: list[tuple[str, str]] = []
        with self.report.step(
            "the gateways with pages of their own learn the hub's webhook URLs, a payment waits at each"
        ) as words:
            for config in self.hub.results("/api/v1/integrations/configs", params={"category": "payment"}):
                if config["environment"] == "simulator" and config["is_active"]:
                    pages += self._page(config)
            if not pages:
                raise StepFailedError("the school has no gateway with a page for the payer")
            words.append(", ".join(name for name, _address in pages))
        return pages

    def _page(self, config: dict[str, Any]) -> list[tuple[str, str]]:
        slug = config["provider"]
        setup = self.hub.json("GET", f"/api/v1/integrations/setup/{slug}", params={"config": str(config["id"])})
        features = setup["features"]
        if "redirect" not in features["methods"]:
            return []
        register(self.hub, self.simulator, config)
        currency = next(each for each in AMOUNTS if each in features["currencies"])
        payment = self.hub.json(
            "POST",
            "/api/payments/authorize",
            body={
                "amount": AMOUNTS[currency],
                "currency": currency,
                "provider": slug,
                "method": {"type": "redirect"},
                "reference": {"type": "invoice", "id": f"INV-{slug.upper()}"},
                "customer": {"name": "Jane Wanjiku", "email": "jane.wanjiku@example.com"},
                "description": "School trip",
            },
            headers={"Idempotency-Key": str(uuid.uuid4())},
            expect=201,
        )
        if payment["status"] != "requires_action" or not payment["next_action"]:
            raise StepFailedError(f"{slug}: expected a page for the payer, got {payment['status']}: {payment['failure']}")
        return [(setup["provider"]["name"], payment["next_action"]["url"])]
