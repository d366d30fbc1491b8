"""A message's words on another channel, and the same message at another account of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django_scopes import scope

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.fallback.rewording import carried_over, reworded
from integrations.messaging.models import Channel, Message, Recipient
from integrations.messaging.sending import accept
from integrations.models import Tenant
from tests.factories import make_config

pytestmark = pytest.mark.django_db


@pytest.fixture
def school(tenant: Tenant) -> Iterator[Tenant]:
    make_config(tenant, "smtp")
    make_config(tenant, "fcm")
    with scope(tenant=tenant):
        yield tenant


def people(message: Message) -> list[Recipient]:
    return list(message.recipients.order_by("id"))


def test_a_letters_own_subject_and_words_go_along(school: Tenant) -> None:
    draft = Draft(
        channel=Channel.EMAIL,
        subject="Report",
        body="{{ pupil }} has {{ mark }}.",
        sender="school@example.org",
        personal=True,
        data={"mark": "a B"},
        content={"envelopes": {"1": {"subject": "Of {{ pupil }}"}}},
    )
    letters = [Destination(f"{name}@example.org", data={"pupil": name}, role="to", envelope=n) for n, name in enumerate("ab")]
    message = accept(tenant=school, draft=draft, destinations=letters)
    made, own = reworded(message, people(message), Channel.PUSH)
    assert (made.personal, made.content) == (True, {"found_by": "user"})
    assert [(each.data["hub_subject"], each.data["hub_text"], each.envelope) for each in own.values()] == [
        ("Report", "a has a B.", 0),
        ("Of b", "b has a B.", 1),
    ]


def test_at_another_account_letters_stay_letters(school: Tenant) -> None:
    picture = Media("logo.png", "image/png", b"\x89PNG", content_id="logo")
    draft = Draft(channel=Channel.EMAIL, subject="Hello", html="<p>Hi</p>", sender="school@example.org", attachments=(picture,))
    given = [Destination("to@example.org", role="to"), Destination("bcc@example.org", role="bcc")]
    message = accept(tenant=school, draft=draft, destinations=given)
    made, own = carried_over(message, people(message))
    assert (made.subject, made.html, made.attachments) == ("Hello", "<p>Hi</p>", (picture,))
    assert [(each.role, each.envelope) for each in own.values()] == [("to", 0), ("bcc", 0)]


def test_text_is_made_of_html_and_a_title_is_kept(school: Tenant) -> None:
    mail = Draft(channel=Channel.EMAIL, subject="Hello", html="<p>Fees are <b>due</b></p>", sender="school@example.org")
    message = accept(tenant=school, draft=mail, destinations=[Destination("to@example.org", role="to")])
    assert reworded(message, people(message), Channel.SMS)[0].body == "Fees are due"
    push = Draft(channel=Channel.PUSH, subject="School", body="Closed tomorrow")
    message = accept(tenant=school, draft=push, destinations=[Destination("token")])
    assert reworded(message, people(message), Channel.SMS)[0].body == "School\nClosed tomorrow"
    made = reworded(message, people(message), Channel.EMAIL)[0]
    assert (made.subject, made.body) == ("School", "Closed tomorrow")


def test_a_message_without_words_of_its_own_is_refused(school: Tenant) -> None:
    draft = Draft(channel=Channel.EMAIL, sender="school@example.org", content={"template_id": "d-1"})
    message = accept(tenant=school, draft=draft, destinations=[Destination("to@example.org", role="to")])
    with pytest.raises(InvalidRequest):
        reworded(message, people(message), Channel.SMS)
