"""The office's pages as a person uses them: on a desk, on a phone, by keyboard alone, and with scripts switched off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from integrations.messaging.models import Message, MessageTemplate, Recipient, SendingPolicy
from integrations.models import Membership, Role, User
from tests import factories
from tests.browser.conftest import DESKTOP, PATIENCE, PHONE, overflows
from tests.browser.test_console import beside
from tests.flows.conftest import School, school, until

__all__ = ["school", "until"]  # fixtures, used by their names

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Opener = Callable[..., Page]
Shots = Callable[[Page, str], Path]
Until = Callable[..., Any]
SIZES = pytest.mark.parametrize("size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"])
TEXT = "School is closed. Don\N{RIGHT SINGLE QUOTATION MARK}t come today."
PUPILS = "Student name,Parent phone,Balance\nAmina,0711000001,1500\nBen,0711000002,0\nNobody,12,3\nAmina,0711000001,1\n"


@pytest.fixture
def office(school: School) -> School:
    """The school with e-mail, prices, templates, and Jane on its staff, who may not open the admin's console."""
    factories.make_config(school.tenant, "sendgrid", account="school")
    SendingPolicy.unscoped.create(tenant=school.tenant, channel="sms", unit_cost="0.8", currency="KES")
    MessageTemplate.unscoped.create(
        tenant=school.tenant,
        channel="sms",
        name="fees",
        body="Dear parent of {{ student_name }}, the balance is {{ balance }}.",
    )
    user = User.objects.create_user(username="jane", password=factories.PASSWORD)
    Membership.unscoped.create(tenant=school.tenant, user=user, role=Role.STAFF)
    return school


@pytest.fixture
def without_script(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport=PHONE, java_script_enabled=False)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def log_in(page: Page, base: str, path: str) -> None:
    page.goto(f"{base}{path}")
    page.get_by_label("Username").fill("jane")
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{base}{path}")


def messages(office: School) -> list[Message]:
    return list(beside(lambda: list(Message.unscoped.filter(tenant=office.tenant).order_by("created", "pk"))))


def addresses(message: Message) -> list[str]:
    rows = Recipient.unscoped.filter(message=message).order_by("id").values_list("address", flat=True)
    return list(beside(lambda: list(rows)))


def name_of(size: dict[str, int]) -> str:
    return "desktop" if size == DESKTOP else "phone"


def look(page: Page, shots: Shots, name: str) -> None:
    shots(page, f"staff-{name}")
    assert not overflows(page), name


def preview(page: Page) -> Locator:
    return page.get_by_role("region", name="Preview")


@SIZES
def test_sms_to_two_parents(
    size: dict[str, int], office: School, until: Until, live_server: Any, open_page: Opener, shots: Shots
) -> None:
    page, name = open_page(size), name_of(size)
    page.goto(f"{live_server.url}/staff/")
    look(page, shots, f"{name}-login")
    log_in(page, live_server.url, "/staff/")
    look(page, shots, f"{name}-home")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="SMS").click()
    look(page, shots, f"{name}-sms-empty")
    page.get_by_label("Phone numbers").fill("0711000001, nonsense\n0711000002")
    page.get_by_label("Text", exact=True).fill(TEXT)
    expect(preview(page).get_by_text("right single quotation mark")).to_be_visible()
    expect(preview(page).get_by_text("KES 1.60")).to_be_visible()
    expect(preview(page).get_by_text("read: nonsense")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("nonsense")
    expect(page.get_by_role("alert")).to_be_focused()
    look(page, shots, f"{name}-sms-wrong")
    page.get_by_label("Phone numbers").fill("0711000001, 0711000002")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="Send this to 2 recipients?")).to_be_visible()
    look(page, shots, f"{name}-sms-confirm")
    assert messages(office) == []
    page.get_by_role("button", name="Send to 2 recipients").dblclick()
    expect(page.get_by_text("0 of 2 done").first).to_be_visible()
    (message,) = messages(office)
    assert addresses(message) == ["+254711000001", "+254711000002"]
    look(page, shots, f"{name}-progress-waiting")

    beside(lambda: until(lambda: Recipient.unscoped.filter(message=message, state="delivered").count() == 2))
    expect(page.get_by_text("2 of 2 done").first).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    recipient = page.locator("#recipients details").first
    expect(recipient).to_contain_text("delivered")
    recipient.locator("summary").click()
    expect(recipient.get_by_role("list")).to_contain_text("sent")
    look(page, shots, f"{name}-progress-done")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Messages").click()
    page.get_by_label("Text, number or address").fill("0711000002")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("link", name="School is closed.")).to_be_visible()
    look(page, shots, f"{name}-history")
    page.emulate_media(color_scheme="dark")
    look(page, shots, f"{name}-history-dark")


@SIZES
def test_file_with_bad_rows(
    size: dict[str, int], office: School, until: Until, live_server: Any, open_page: Opener, shots: Shots
) -> None:
    page, name = open_page(size), name_of(size)
    log_in(page, live_server.url, "/staff/sms/")
    page.get_by_text("Upload a file instead").click()
    file = {"name": "pupils.csv", "mimeType": "text/csv", "buffer": PUPILS.encode()}
    page.get_by_label("Or a file").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_label("Template").select_option(label="fees")
    expect(page.get_by_label("Text", exact=True)).to_have_value(
        "Dear parent of {{ student_name }}, the balance is {{ balance }}."
    )
    expect(page.get_by_text("To be filled in: {{ student_name }}, {{ balance }}")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="Ready for 2 recipients")).to_be_visible()
    expect(page.get_by_label("Phone numbers are in")).to_have_value("Parent phone")
    expect(page.get_by_text("Dear parent of Amina, the balance is 1500.")).to_be_visible()
    expect(page.get_by_role("heading", name="Rows that can't be used")).to_be_visible()
    look(page, shots, f"{name}-list")
    page.get_by_label("Phone numbers are in").select_option("Balance")
    page.get_by_role("button", name="Check again").click()
    expect(page.get_by_role("heading", name="No row can be used")).to_be_visible()
    page.get_by_label("Phone numbers are in").select_option("Parent phone")
    page.get_by_role("button", name="Check again").click()
    assert messages(office) == []
    page.get_by_role("button", name="Send to 2 recipients").dblclick()
    expect(page.get_by_text("0 of 2 done").first).to_be_visible()
    (message,) = messages(office)
    beside(lambda: until(lambda: Recipient.unscoped.filter(message=message, state="delivered").count() == 2))
    expect(page.get_by_text("2 of 2 done").first).to_be_visible()
    expect(page.locator("#recipients")).to_contain_text("Amina")
    look(page, shots, f"{name}-list-done")


@SIZES
def test_email_with_a_file(
    size: dict[str, int], office: School, until: Until, live_server: Any, open_page: Opener, shots: Shots
) -> None:
    page, name = open_page(size), name_of(size)
    log_in(page, live_server.url, "/staff/email/")
    look(page, shots, f"{name}-email-empty")
    page.get_by_label("To", exact=True).fill("amina@example.com\nben@example.com")
    page.get_by_label("Subject").fill("Term dates")
    page.get_by_label("From").fill("office@springfield.test")
    editor = page.locator("trix-editor")
    editor.click()
    page.get_by_role("button", name="Bold").click()
    page.keyboard.type("School is closed")
    page.get_by_role("button", name="Bold").click()
    page.keyboard.type(" tomorrow. <script>no</script>")
    file = {"name": "dates.txt", "mimeType": "text/plain", "buffer": b"1 May to 7 August"}
    page.get_by_label("Attachments").set_input_files(file)  # type: ignore[arg-type]
    letter = page.frame_locator("iframe.mail")
    expect(letter.locator("strong")).to_have_text("School is closed")
    look(page, shots, f"{name}-email")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="Send this to 2 recipients?")).to_be_visible()
    expect(page.get_by_text("dates.txt")).to_be_visible()
    look(page, shots, f"{name}-email-confirm")
    page.get_by_role("link", name="Back to the text").click()
    expect(page.locator("trix-editor strong")).to_have_text("School is closed")
    expect(page.get_by_text("dates.txt")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("button", name="Send to 2 recipients").dblclick()
    expect(page.get_by_text("0 of 2 done").first).to_be_visible()
    (message,) = messages(office)
    assert "<strong>School is closed</strong>" in message.html
    assert "<script" not in message.html
    beside(lambda: until(lambda: not Recipient.unscoped.filter(message=message, state="queued").exists()))
    expect(page.get_by_text("2 of 2 done").first).to_be_visible()
    look(page, shots, f"{name}-email-done")


@pytest.mark.slow
def test_keyboard_alone(office: School, live_server: Any, open_page: Opener) -> None:
    page = open_page(DESKTOP)
    page.goto(f"{live_server.url}/staff/sms/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("jane")
    page.keyboard.press("Tab")
    page.keyboard.type(factories.PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{live_server.url}/staff/sms/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Phone numbers"))
    page.keyboard.type("0711000001")
    tab_to(page, page.get_by_label("Text", exact=True))
    page.keyboard.type("School is closed tomorrow.")
    tab_to(page, page.get_by_role("button", name="Send", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_text("0 of 1 done").first).to_be_visible()
    (message,) = messages(office)
    assert addresses(message) == ["+254711000001"]
    tab_to(page, page.get_by_role("button", name="Pause"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_text("Paused: nothing more goes out")).to_be_visible()
    page.context.clear_cookies()  # the session ends: the page that asks for progress leads to the login, and back
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert page.url == f"{live_server.url}/staff/login/?next=/staff/messages/{message.pk}/"


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus, as a person without a mouse does."""
    for _ in range(25):
        if target.evaluate("each => each === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} is not reached by the keyboard")


@pytest.mark.slow
def test_all_of_it_without_scripts(office: School, until: Until, live_server: Any, without_script: Page) -> None:
    page = without_script
    log_in(page, live_server.url, "/staff/email/")
    page.get_by_label("To", exact=True).fill("amina@example.com")
    page.get_by_label("Subject").fill("Term dates")
    page.get_by_label("From").fill("office@springfield.test")
    page.get_by_role("textbox", name="Text").fill("School is <b>closed</b>.\n\nBring nothing.")
    file = {"name": "dates.txt", "mimeType": "text/plain", "buffer": b"1 May to 7 August"}
    page.get_by_label("Attachments").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Preview").click()
    expect(page.frame_locator("iframe.mail").locator("p").first).to_have_text("School is <b>closed</b>.")
    expect(page.get_by_text("dates.txt")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).dblclick()
    expect(page.get_by_text("0 of 1 done").first).to_be_visible()
    (letter,) = messages(office)
    assert letter.html == "<p>School is &lt;b&gt;closed&lt;/b&gt;.</p>\n\n<p>Bring nothing.</p>"

    page.goto(f"{live_server.url}/staff/sms/")
    page.get_by_label("Phone numbers").fill("0711000001\n0711000002")
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_role("button", name="Preview").click()
    expect(preview(page).get_by_text("KES 1.60")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("button", name="Send to 2 recipients").click()
    expect(page.get_by_text("0 of 2 done").first).to_be_visible()
    beside(lambda: until(lambda: Recipient.unscoped.filter(message__channel="sms", state="delivered").count() == 2))
    page.reload()
    expect(page.get_by_text("2 of 2 done").first).to_be_visible()
    assert len(messages(office)) == 2
