"""The webhook portal in a real browser: a developer's way through it by login, and by a link inside another site's frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django_scopes import scope
from playwright.sync_api import Browser, FrameLocator, Page, expect

from integrations.models import Membership, Role, Tenant, User
from tests import factories
from tests.browser.conftest import DESKTOP, PATIENCE, PHONE, overflows
from tests.browser.test_console import beside
from tests.webhooks.outbound.conftest import Answer, Receiver, deliver, receiver
from webhooks.outbound import signing
from webhooks.outbound.models import Delivery, Endpoint
from webhooks.outbound.portal import links

__all__ = ["receiver"]  # a fixture, used by its name

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Opener = Callable[..., Page]
Shots = Callable[[Page, str], Path]
SIZES = pytest.mark.parametrize("size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"])


@pytest.fixture
def jane(tenant: Tenant) -> User:
    user = User.objects.create_user(username="jane", password=factories.PASSWORD)
    Membership.unscoped.create(tenant=tenant, user=user, role=Role.ADMIN)
    return user


def log_in(page: Page, base: str) -> None:
    page.goto(f"{base}/portal/")
    page.get_by_label("Username").fill("jane")
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{base}/portal/")


def send_out() -> None:
    beside(deliver)


@pytest.mark.slow
@SIZES
def test_a_developers_way(
    size: dict[str, int],
    jane: User,
    tenant: Tenant,
    receiver: Receiver,
    live_server: Any,
    open_page: Opener,
    shots: Shots,
) -> None:
    page, base = open_page(size), live_server.url
    name = "desktop" if size == DESKTOP else "phone"

    def look(what: str) -> None:
        shots(page, f"portal-{name}-{what}")
        assert not overflows(page), what

    log_in(page, base)
    look("empty")
    page.get_by_role("link", name="Add an endpoint").click()
    page.get_by_label("Name").fill("Till")
    page.get_by_label("URL").fill("ftp://till.example")
    page.get_by_label("Events", exact=True).fill("payment.*\nmessage.failed")
    look("new")
    page.get_by_role("button", name="Add the endpoint").click()
    expect(page.get_by_role("alert")).to_contain_text("Not allowed")
    expect(page.get_by_role("alert")).to_be_focused()
    look("new-wrong")
    page.get_by_label("URL").fill(f"{receiver.url}/till")
    page.get_by_role("button", name="Add the endpoint").dblclick()
    secret = page.get_by_label("Signing secret", exact=True).input_value()
    endpoint = beside(Endpoint.unscoped.get)
    assert secret == endpoint.signing_keys()[0]["secret"]
    assert "whsec" not in page.url
    look("secret")
    page.get_by_role("link", name="Go on").click()
    expect(page.get_by_role("heading", name="Till waiting")).to_be_visible()
    assert secret not in page.content()

    # A test event goes the way of all events; the page shows what comes of it by itself.
    receiver.answers["/till"] = [Answer(500, body=b"<b>the till is shut</b>"), Answer(200, body=b"thanks")]
    page.get_by_role("button", name="Send a test event").click()
    expect(page.get_by_text("The test event is on its way")).to_be_visible()
    expect(page.get_by_text("Not tried yet.")).to_be_visible()
    send_out()
    expect(page.get_by_text("<b>the till is shut</b>")).to_be_visible()
    expect(page.get_by_text("Failed").first).to_be_visible()
    look("delivery-failed")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("It is due now")).to_be_visible()
    send_out()
    expect(page.get_by_text("Delivered").first).to_be_visible()
    expect(page.get_by_text("thanks", exact=True)).to_be_visible()
    (first, second) = receiver.at("/till")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    look("delivery")

    page.get_by_role("link", name="Till").click()
    expect(page.get_by_role("region", name="Last deliveries").get_by_text("last answer 200")).to_be_visible()
    page.get_by_text("Rotate: make a new key").click()
    page.get_by_role("button", name="Rotate").click()
    fresh = page.get_by_label("Signing secret", exact=True).input_value()
    assert fresh != secret
    page.get_by_role("link", name="Go on").click()
    expect(page.get_by_text("signs until")).to_be_visible()
    look("endpoint")
    page.get_by_role("button", name="Send a test event").click()
    send_out()
    expect(page.get_by_text("Delivered").first).to_be_visible()
    assert [part.split(",")[0] for part in receiver.at("/till")[-1].headers["webhook-signature"].split()] == ["v1", "v1"]

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Event types").click()
    expect(page.get_by_role("link", name="payment.completed The money")).to_be_visible()
    look("catalogue")
    page.get_by_role("link", name="payment.completed The money").click()
    expect(page.get_by_text("amount_captured").first).to_be_visible()
    look("event-type")
    page.goto(f"{base}/portal/endpoints/{endpoint.pk}/verify/")
    expect(page.get_by_text(f"endpoint {endpoint.pk}").first).to_be_visible()
    look("samples")
    page.goto(f"{base}/portal/endpoints/{endpoint.pk}/deliveries/")
    look("deliveries")
    page.goto(f"{base}/portal/dead-letters/")
    look("dead-letters")
    page.goto(f"{base}/portal/endpoints/{endpoint.pk}/edit/")
    page.get_by_text("How it is sent").click()
    look("edit")
    page.goto(f"{base}/portal/links/")
    page.get_by_role("button", name="Make a link").click()
    assert "/portal/l/plt_" in page.get_by_label("The new link").input_value()
    look("links")


def test_recovering_in_front_of_the_page(
    jane: User, tenant: Tenant, receiver: Receiver, live_server: Any, open_page: Opener, shots: Shots
) -> None:
    endpoint = factories.make_endpoint(tenant, url=f"{receiver.url}/till", name="Till")
    deliveries = [factories.make_delivery(endpoint) for _ in range(3)]
    Delivery.unscoped.update(state="failed", attempts=12, dead_reason="exhausted")
    page = open_page()
    log_in(page, live_server.url)
    page.goto(f"{live_server.url}/portal/endpoints/{endpoint.pk}/recover/")
    page.get_by_label("Since").fill(deliveries[0].created.strftime("%Y-%m-%dT00:00:00"))
    page.get_by_role("button", name="Count them").click()
    expect(page.get_by_text("3 events")).to_be_visible()
    shots(page, "portal-recover")
    page.get_by_role("button", name="Send 3 again").click()
    expect(page.get_by_text("0 of 3 queued")).to_be_visible()
    beside(factories.work_off)
    expect(page.get_by_text("3 of 3 queued")).to_be_visible()
    expect(page.get_by_text("Done").first).to_be_visible()
    shots(page, "portal-replay")
    send_out()
    assert len(receiver.at("/till")) == 3


# --- Embedded ---------------------------------------------------------------------------------------------------------------


class Site:
    """Somebody else's page, at an origin of its own, that embeds an address."""

    def __init__(self) -> None:
        self.embeds = ""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = f'<!doctype html><title>Site</title><iframe src="{site.embeds}" width="1100" height="800"></iframe>'
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *args: Any) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def embed(site: Site, live_server: Any, tenant: Tenant, page: Page, **fields: Any) -> FrameLocator:
    """Open the site's page with the portal in its frame; the portal has another host name, so that it is a third party."""
    with scope(tenant=tenant):
        _link, token = links.create_link(tenant=tenant, created_by="key test", **fields)
    site.embeds = f"{live_server.url.replace('127.0.0.1', 'localhost')}/portal/l/{token}/"
    page.goto(site.origin)
    return page.frame_locator("iframe")


def test_a_link_in_a_frame_of_another_site(
    tenant: Tenant, receiver: Receiver, site: Site, live_server: Any, open_page: Opener, shots: Shots
) -> None:
    factories.make_endpoint(tenant, url=f"{receiver.url}/till", name="Till")
    page = open_page()
    frame = embed(site, live_server, tenant, page, can_write=True, frame_ancestors=[site.origin])
    frame.get_by_role("link", name="Till").click()
    frame.get_by_role("button", name="Send a test event").click()
    expect(frame.get_by_text("The test event is on its way")).to_be_visible()
    send_out()
    expect(frame.get_by_text("Delivered").first).to_be_visible()
    shots(page, "portal-framed")
    assert page.context.cookies() == []
    assert page.evaluate("document.referrer") == ""
    assert len(receiver.at("/till")) == 1
    frame.get_by_role("link", name="Till").click()
    frame.get_by_text("Rotate: make a new key").click()
    frame.get_by_role("button", name="Rotate").click()
    assert signing.check_secret(frame.get_by_label("Signing secret", exact=True).input_value()) == signing.SYMMETRIC


@pytest.mark.parametrize("ancestors", [[], ["https://app.example"]], ids=["nobody", "somebody else"])
def test_a_site_that_is_not_listed_gets_nothing(
    ancestors: list[str], tenant: Tenant, site: Site, live_server: Any, chromium: Browser
) -> None:
    factories.make_endpoint(tenant, name="Till")
    context = chromium.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    with page.expect_console_message(lambda said: "frame-ancestors" in said.text or "X-Frame-Options" in said.text):
        embed(site, live_server, tenant, page, frame_ancestors=ancestors)
    page.wait_for_load_state("networkidle")
    inner = page.frames[1]
    assert "Till" not in inner.content()
    context.close()
