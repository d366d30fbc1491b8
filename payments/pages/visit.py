"""What payments and setups have in common for a browser that comes with their token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from integrations.models import Tenant
from integrations.runtime.jobs import Call
from payments.gateway import page_url
from payments.pages.rendering import Page, is_web


class Visit(ABC):
    """A browser at the page of one payment or setup. `kind` and `pk` name it in logs and limits."""

    kind: str
    verb: str
    """What the card is taken for on the hub's own page: a heading."""

    def __init__(self, *, pk: str, token: str, tenant: Tenant) -> None:
        self.pk = pk
        self.tenant = tenant
        self.own = page_url(token)
        self.back = page_url(token, "/return")

    @property
    @abstractmethod
    def status(self) -> str:
        """The status as the API shows it."""

    @property
    @abstractmethod
    def waits(self) -> bool:
        """Whether the payer has something to do at the gateway."""

    @property
    @abstractmethod
    def next_action(self) -> dict[str, Any] | None: ...

    @property
    @abstractmethod
    def return_url(self) -> str:
        """The caller's own page, with what became of it in the query; empty where there is none."""

    @abstractmethod
    def ask(self) -> bool:
        """Ask the gateway how it stands, unless that was done just now; tell whether it has answered."""

    @abstractmethod
    def page(self, *, fresh: bool) -> Page:
        """Return how it stands, in words; `fresh`: as the gateway said in this very request."""

    @abstractmethod
    def left(self, page: Page) -> Page:
        """Return `page` for a payer who gave up at the gateway's page."""

    @abstractmethod
    def form(self) -> Page:
        """Return what stands above the card form: what it is for."""

    @abstractmethod
    def call_for_form(self) -> Call:
        """Return the call for what the gateway's card form needs."""

    @property
    def url(self) -> str:
        """Where the payer goes on, empty where there is nothing to do."""
        found = str((self.next_action or {}).get("url", "")) if self.waits else ""
        return found if is_web(found) else ""

    @property
    def pays_here(self) -> bool:
        """Whether the payer goes on at the hub's own page, with the gateway's card form in it."""
        return self.url == self.own or self.url.startswith((f"{self.own}/", f"{self.own}?", f"{self.own}#"))

    @property
    def gateway_url(self) -> str:
        """The gateway's own page: never one of ours, which would send the payer round."""
        return "" if self.pays_here else self.url

    @property
    def pay_url(self) -> str:
        """Where a link to go on leads to."""
        return self.own if self.pays_here else self.url
