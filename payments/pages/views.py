"""The four addresses of a payment or setup, and the gateway's card form on the hub's own page."""

from __future__ import annotations

import secrets
from dataclasses import replace

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse

from integrations.contracts.errors import Conflict, ProviderError, UnsupportedOperation
from integrations.contracts.payment import PayerPage
from integrations.runtime import rate_limit
from integrations.runtime.execute import execute
from payments.pages.payment import PaymentVisit
from payments.pages.rendering import Page, answer, guarded, unknown, with_script
from payments.pages.setup import SetupVisit
from payments.pages.visit import Visit

logger = structlog.get_logger(__name__)

FORMS_A_SECOND, FORMS_AT_ONCE = 0.5, 10
"""How often one token may have the gateway asked for its card form: who reloads must not use up the account's limit."""
TRY_AGAIN_AFTER = 15


def find(token: str) -> Visit | None:
    """Return whose token it is."""
    return PaymentVisit.find(token) or SetupVisit.find(token)


@guarded
def start(_request: HttpRequest, token: str) -> HttpResponseBase:
    """GET `/pay/<token>`: the gateway's page or card form while the payer has something to do, else how it stands."""
    visit = find(token)
    if visit is None:
        return unknown()
    if visit.gateway_url:
        return HttpResponseRedirect(visit.gateway_url)
    if visit.pays_here:
        form = _card_form(visit)
        if form is not None:
            return form
    visit.ask()
    page = visit.page(fresh=False)
    return answer(replace(page, pay_url="") if page.pay_url == visit.own else page)


@guarded
def back(_request: HttpRequest, token: str) -> HttpResponseBase:
    """GET `/pay/<token>/return`: the payer comes from the gateway's page."""
    visit = find(token)
    return unknown() if visit is None else answer(visit.page(fresh=visit.ask()))


@guarded
def cancelled(_request: HttpRequest, token: str) -> HttpResponseBase:
    """GET `/pay/<token>/cancel`: the payer left the gateway's page, which decides nothing: he may still go on there."""
    visit = find(token)
    if visit is None:
        return unknown()
    page = visit.page(fresh=visit.ask())
    return answer(visit.left(page) if visit.waits else page)


@guarded
def status(_request: HttpRequest, token: str) -> HttpResponseBase:
    """GET `/pay/<token>/status`: `{"status"}` as the hub knows it; nobody is asked."""
    visit = find(token)
    return JsonResponse({"status": None}, status=404) if visit is None else JsonResponse({"status": visit.status})


def _card_form(visit: Visit) -> HttpResponse | None:
    """Return the page with the gateway's card form; None where the gateway waits for the payer no longer."""
    try:
        rate_limit.take(f"card-form|{visit.pk}", rate=FORMS_A_SECOND, burst=FORMS_AT_ONCE)
        found: PayerPage = execute(visit.call_for_form(), tenant_id=visit.tenant.pk)
    except Conflict:
        return None
    except UnsupportedOperation as error:
        logger.warning("card_form_impossible", about=visit.pk, detail=error.message)
        text = f"This page can't take your card. Please tell {visit.tenant.name}."
        return answer(_instead(visit, tone="stopped", title="Not possible here", text=text))
    except ProviderError as error:
        logger.info("card_form_not_loaded", about=visit.pk, code=error.code)
        text = "The card form can't be loaded at the moment. Please try again in a minute."
        page = _instead(visit, tone="action", title="Please try again", text=text)
        response = answer(replace(page, pay_url=visit.own, pay_text="Try again"), status=503)
        response["Retry-After"] = str(TRY_AGAIN_AFTER)
        return response
    context = {**found.context, "fragment": found.template, "return_url": visit.back}
    return with_script(visit.form(), context, sources=found.sources, nonce=secrets.token_urlsafe(16))


def _instead(visit: Visit, *, tone: str, title: str, text: str) -> Page:
    """Return what the payer reads in the place of the form."""
    return replace(visit.form(), tone=tone, title=title, text=text, lines=(), return_url=visit.return_url)
