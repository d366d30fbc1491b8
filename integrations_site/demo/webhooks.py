"""Telling a provider where the hub takes its webhooks, as the set-up wizard says."""

from typing import Any

from integrations_site.demo.client import Client

ACCOUNT = "school"  # the simulators' name of the account that the seed gave the school


def register(hub: Client, simulator: Client, config: dict[str, Any]) -> None:
    """By the provider's API where it has one, else as a person would in its dashboard; nothing where it is told with each
    call."""
    slug = config["provider"]
    webhooks = hub.json("GET", f"/api/v1/integrations/setup/{slug}", params={"config": str(config["id"])})["webhooks"]
    if webhooks["method"] == "api":
        hub.json("POST", f"/api/v1/integrations/setup/{slug}/webhooks", body={"config": config["id"]})
    elif webhooks["purposes"]:
        url = webhooks["purposes"][0]["url"]
        simulator.send("PUT", f"/control/{slug}/accounts/{ACCOUNT}", body={"webhook_url": url})
