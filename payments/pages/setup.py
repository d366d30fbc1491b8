"""The storing of a card or payer in the words of its payer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import structlog
from django.db import transaction
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import ProviderError, Throttled
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentQuery
from integrations.contracts.payment_features import MethodType
from integrations.runtime import rate_limit
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from payments.gateway import setup_request
from payments.models import SetupIntent, SetupStatus
from payments.pages.payment import ASK_AGAIN, QUICK_FOR
from payments.pages.rendering import QUICK, SLOW, Page, reason, shop_url
from payments.pages.visit import Visit
from payments.setups import apply_setup, is_open, setup_operation

logger = structlog.get_logger(__name__)

ENDINGS = {
    SetupStatus.FAILED: "could not be saved",
    SetupStatus.CANCELLED: "was not saved",
    SetupStatus.EXPIRED: "was not saved in time",
}


class SetupVisit(Visit):
    """See `Visit`."""

    kind = "setup"
    verb = "Save your card"

    def __init__(self, setup: SetupIntent) -> None:
        super().__init__(pk=setup.pk, token=setup.page_token, tenant=setup.tenant)
        self.setup = setup

    @classmethod
    def find(cls, token: str) -> SetupVisit | None:
        found = SetupIntent.unscoped.select_related("tenant", "payer_method").filter(page_token=token).first()
        return cls(found) if found is not None else None

    @property
    def status(self) -> str:
        return self.setup.status

    @property
    def waits(self) -> bool:
        return self.setup.status == SetupStatus.REQUIRES_ACTION

    @property
    def next_action(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.setup.next_action
        return found

    @property
    def return_url(self) -> str:
        return shop_url(self.setup.return_url, setup=self.setup.pk, status=self.setup.status)

    def ask(self) -> bool:
        if not is_open(self.setup):
            return False
        with scope(tenant=self.tenant):
            request = setup_request(self.setup, setup_operation(self.setup))
            try:
                # Taken before asking: also two windows at once, and a gateway that does not answer, are asked only that often.
                rate_limit.take(f"setup-page|{self.pk}", rate=1 / ASK_AGAIN.total_seconds(), burst=1)
                result = execute(self._call("setup_status", request), tenant_id=self.tenant.pk)
            except Throttled:
                return False
            except ProviderError as error:
                logger.info("payer_page_not_checked", setup=self.pk, code=error.code)
                return False
            with transaction.atomic():
                apply_setup(self.pk, result)
            self.setup = SetupIntent.objects.select_related("tenant", "payer_method").get(pk=self.pk)
        return True

    def page(self, *, fresh: bool) -> Page:
        setup, tenant, noun = self.setup, self.tenant.name, self._noun()
        page = Page(tenant, "waiting", f"Checking your {noun}", "")
        if is_open(setup):
            return self._open(page, fresh=fresh)
        returns = self.return_url
        page = replace(page, return_url=returns, refresh=f"{QUICK};url={returns}" if returns else "")
        if setup.status == SetupStatus.SUCCEEDED:
            text = f"{tenant} can charge it for what you have agreed to. Nothing was taken now."
            title = f"{noun.capitalize()} saved"
            return replace(page, tone="paid", title=title, text=text, lines=self._stored())
        title = f"Your {noun} {ENDINGS[SetupStatus(setup.status)]}"
        why = reason(setup.failure, otherwise="Nothing was stored.", private="It could not be processed.")
        return replace(page, tone="stopped", title=title, text=why)

    def _open(self, page: Page, *, fresh: bool) -> Page:
        if fresh and self.pays_here:
            text = "It was not confirmed, so it is not stored. You can try again, also with another card."
            return replace(
                page, tone="action", title=f"Your {self._noun()} is not saved yet", text=text,
                pay_url=self.own, pay_text="Try again", return_url=self.return_url,
            )  # fmt: skip
        quick = clock.now() - self.setup.created < QUICK_FOR
        text = "This takes a few seconds. The page renews itself."
        refresh = str(QUICK if quick else SLOW)
        return replace(page, text=text, refresh=refresh, pay_url=self.pay_url, pay_text="Go on")

    def left(self, page: Page) -> Page:
        text = "You came back before it was saved. You can go on with it, or leave it."
        return replace(
            page, tone="action", title="Not saved yet", text=text, refresh="", return_url=self.return_url,
            pay_url=self.pay_url, pay_text="Go on",
        )  # fmt: skip

    def form(self) -> Page:
        leave = f"{self.own}/cancel" if self.return_url else ""
        text = "The card is kept for later payments. Nothing is taken now."
        return Page(self.tenant.name, "form", self.verb, text, return_url=leave)

    def call_for_form(self) -> Call:
        # The query is a payment's; a setup has no amount, and nobody compares one.
        query = PaymentQuery(
            payment_id=self.pk,
            provider_ref=self.setup.provider_ref,
            money=Money(0, self.tenant.currency),
            method=MethodType(self.setup.method_type),
        )
        return self._call("payer_page", query)

    def _call(self, operation: str, argument: object) -> Call:
        return Call(
            Capability.PAYMENT,
            operation,
            (argument,),
            config_id=self.setup.config_id,
            reference=("setup", self.pk),
            external_reference=self.setup.provider_ref,
            in_flight=True,
        )

    def _noun(self) -> str:
        method = self.setup.payer_method
        kind = method.method_type if method is not None else self.setup.method_type
        return "card" if kind == MethodType.CARD else "payment method"

    def _stored(self) -> tuple[tuple[str, str], ...]:
        """Return what people may see of a card; of an account nothing, which is a name or an address."""
        method = self.setup.payer_method
        if method is None or not method.last4:
            return ()
        card = f"{method.brand.title() or 'Card'} •••• {method.last4}"
        return (("Card", card), *((("Expires", method.expires),) if method.expires else ()))
