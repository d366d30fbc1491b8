"""From a file's rows to recipients: what a list says of itself, and what becomes of it when it is sent to."""

from __future__ import annotations

import io
from typing import Any
from unittest import mock

import pytest
from django_scopes import scope

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest
from integrations.messaging import sending, steering
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.jobs import expanding
from integrations.messaging.lists import lists
from integrations.messaging.lists.lists import BadRow, Columns
from integrations.messaging.models import Message, Recipient, RecipientList, RecipientListPart, SendingPolicy
from integrations.messaging.safety.screening import suppress
from integrations.messaging.safety.spending import SpendCapReached
from integrations.messaging.sms.services import AT_ONCE, send_sms
from integrations.models import Config, QueueItem, QueueState, Tenant
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve
from integrations.runtime.worker import claim, run
from tests.factories import MovableClock, make_config
from tests.messaging.conftest import Account
from tests.messaging.test_list_files import workbook

CLASS = """Student name,Phone,E-mail,Balance
Jane Wanjiku,0711000123,jane@example.org,"1,500"
Juma,+254 711 000 124,JUMA@Example.org,200
,12,,
Ali,711000125,,
Jane again,254711000123,,90
"""
COLUMNS = Columns("Phone", "Student name", {"email": "E-mail"})


def store(tenant: Tenant, content: str | bytes = CLASS, filename: str = "class.csv") -> RecipientList:
    raw = content.encode() if isinstance(content, str) else content
    return lists.store_file(tenant=tenant, file=io.BytesIO(raw), filename=filename, created_by="test")


def check(tenant: Tenant, rows: RecipientList, body: str = "Karibu", **more: Any) -> lists.ListReport:
    given: dict[str, Any] = {"channel": "sms", "columns": COLUMNS, **more}
    return lists.check_list(tenant=tenant, recipient_list=rows, body=body, **given)


def send(tenant: Tenant, rows: RecipientList, body: str = "Karibu", columns: Columns = COLUMNS, **more: Any) -> Message:
    draft = Draft(channel=more.pop("channel", "sms"), body=body, **more)
    return lists.send_list(tenant=tenant, recipient_list=rows, columns=columns, draft=draft)


def expand(limit: int = 1000) -> int:
    """Run the expansion to its end; return the runs."""
    runs = 0
    while items := claim(1, kinds=[sending.EXPAND_KIND]):
        assert run(items[0]).state == QueueState.COMPLETED
        runs += 1
        assert runs <= limit
    return runs


def numbers(count: int, first: int = 0) -> list[str]:
    return [f"+2547{first + each:08d}" for each in range(10_000_000, 10_000_000 + count)]


def test_a_list_is_kept_in_parts_with_the_numbers_of_its_rows(school: Account) -> None:
    lines = [f"0711{each:06d}" for each in range(1200)]
    lines[700:700] = [""] * 3
    rows = store(school.tenant, "Phone\n" + "\n".join(lines) + "\n", "C:\\lists\\term 1.csv")
    assert (rows.filename, rows.columns, rows.rows, rows.country) == ("term 1.csv", ["Phone"], 1200, school.tenant.country)
    parts = RecipientListPart.objects.filter(recipient_list=rows).order_by("number")
    assert [(part.number, part.first_row, sum(map(bool, part.rows))) for part in parts] == [
        (0, 2, 500),
        (1, 502, 500),
        (2, 1005, 200),
    ]


def test_a_file_that_breaks_off_leaves_nothing(school: Account) -> None:
    with pytest.raises(InvalidRequest):
        store(school.tenant, "Phone\n" + "0711000123\n" * 900 + '"open\n')
    with pytest.raises(InvalidRequest, match="no rows") as caught:
        store(school.tenant, "Phone,Name\n")
    assert caught.value.attr == "file"
    assert (RecipientList.objects.count(), RecipientListPart.objects.count()) == (0, 0)


def test_variables_are_unique_and_never_empty(school: Account) -> None:
    rows = store(school.tenant, "Student name,Student-Name,Größe,2nd term,!!,Phone\na,b,c,d,e,f\n")
    assert lists.variables(rows) == {
        "student_name": "Student name",
        "student_name_2": "Student-Name",
        "grosse": "Größe",
        "_2nd_term": "2nd term",
        "column_5": "!!",
        "phone": "Phone",
    }


def test_columns_are_guessed_by_what_they_hold(school: Account) -> None:
    rows = store(school.tenant)
    assert lists.guess_columns(rows, "sms") == Columns("Phone", "Student name", {"email": "E-mail"})
    assert lists.guess_columns(rows, "email") == Columns("E-mail", "Student name", {"sms": "Phone"})
    misleading = store(school.tenant, "Phone,Contact,Full name\nhouse,0711000123,Jane\nhome,0711000124,Juma\n")
    assert lists.guess_columns(misleading, "sms") == Columns("Contact", "Full name")
    nobody = store(school.tenant, "Colour,Shape\nred,round\n")
    assert lists.guess_columns(nobody, "sms") == Columns("")
    two = store(school.tenant, "Emergency contact,Mobile\n0711000123,0711000124\n")
    assert lists.guess_columns(two, "sms").address == "Mobile"


def test_the_report_tells_every_row_that_is_not_sent_to(school: Account) -> None:
    report = check(school.tenant, store(school.tenant))
    assert (report.rows, report.good, report.duplicates, report.bad) == (5, 3, 1, 1)
    assert report.bad_rows == (BadRow(4, "12", "is no phone number"),)
    assert (report.segments, report.total_segments, report.encoding, report.unusual) == (1, 3, "GSM-7", ())
    assert [each.to for each in report.samples] == ["+254711000123", "+254711000124", "+254711000125"]


def test_a_personal_text_is_filled_in_and_counted_row_by_row(school: Account) -> None:
    rows = store(school.tenant, "Phone,Name,Note\n0711000123,Jane,x\n0711000124,Zoë 😀,x\n0711000125,Al," + "y" * 170 + "\n")
    report = check(school.tenant, rows, "Dear {{ name }}: {{note}}", columns=Columns("Phone"))
    assert [each.body for each in report.samples][:2] == ["Dear Jane: x", "Dear Zoë 😀: x"]
    assert (report.segments, report.total_segments, report.encoding) == (2, 4, "UCS-2")
    assert set(report.unusual) == {"ë", "😀"}


def test_a_hole_is_a_bad_row_unless_the_message_has_a_value_for_all(school: Account) -> None:
    rows = store(school.tenant)
    report = check(school.tenant, rows, "You owe {{ balance }}")
    assert report.bad_rows[1:] == (BadRow(5, "711000125", "nothing to fill in for balance"),)
    assert check(school.tenant, rows, "You owe {{ balance }}", data={"balance": "0"}).bad == 1
    with pytest.raises(InvalidRequest, match="term") as caught:
        check(school.tenant, rows, "{{ term }}: {{ balance }}")
    assert caught.value.attr == "data"
    assert check(school.tenant, rows, "{{ term }}", data={"term": "Term 1"}).good == 3


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("254711000123.0", ""),
        ("2.54711000123E+11", ""),
        ("711000123", ""),
        ("2.54711E+11", "has lost digits in Excel: format the column as text and save the file again"),
        ("0711 000 12", "is no phone number"),
        ("none", "is no phone number"),
    ],
)
def test_numbers_as_spreadsheets_leave_them(school: Account, written: str, problem: str) -> None:
    report = check(school.tenant, store(school.tenant, f"Phone,Name\n{written},x\n"), columns=Columns("Phone"))
    assert [each.to for each in report.samples] == ([] if problem else ["+254711000123"])
    assert [each.problem for each in report.bad_rows] == ([problem] if problem else [])


def test_a_row_with_more_cells_than_headings_is_never_sent_to(school: Account) -> None:
    rows = store(school.tenant, "Name,Phone\nDoe, Jane,0711000123\nJoe,0711000124\n")
    report = check(school.tenant, rows, columns=Columns("Phone"))
    assert report.bad_rows == (BadRow(2, "Jane", "has more cells than there are headings"),)


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"columns": Columns("Nope")}, "columns"),
        ({"columns": Columns("")}, "columns"),
        ({"columns": Columns("Phone", "Nope")}, "columns"),
        ({"columns": Columns("Phone", "", {"email": "Nope"})}, "columns"),
        ({"columns": Columns("Phone", "", {"fax": "E-mail"})}, "columns"),
        ({"columns": Columns("Phone", "", {"sms": "E-mail"})}, "columns"),
        ({"channel": "push"}, "channel"),
        ({"body": "  "}, "message"),
        ({"body": "{{ student name }}"}, "message"),
    ],
)
def test_what_is_asked_wrongly_is_named(school: Account, changes: dict[str, Any], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(school.tenant, store(school.tenant), **changes)
    assert caught.value.attr == attr


def test_the_rows_become_recipients_once(school: Account) -> None:
    message = send(school.tenant, store(school.tenant), "Dear {{ student_name }}, {{ balance }} is due.", data={"balance": "0"})
    assert (message.expected, message.prepared_at, message.personal) == (3, None, True)
    assert Recipient.objects.count() == 0
    assert steering.progress(message).status == "preparing"
    assert expand() == 1
    message.refresh_from_db()
    assert (message.expected, message.prepared_at is not None) == (3, True)
    found = {each.address: each for each in Recipient.objects.all()}
    jane = found["+254711000123"]
    assert (jane.name, jane.data) == ("Jane Wanjiku", {"student_name": "Jane Wanjiku", "balance": "1,500"})
    assert jane.alternatives == {"email": "jane@example.org"}
    assert found["+254711000124"].alternatives == {"email": "juma@example.org"}
    assert found["+254711000125"].data == {"student_name": "Ali"}
    assert len(found) == 3


def test_a_list_of_many_parts_and_duplicates_across_them(school: Account) -> None:
    some = numbers(1100)
    rows = store(school.tenant, "Phone\n" + "\n".join([*some, *some[:50], "bad"]) + "\n")
    message = send(school.tenant, rows, columns=Columns("Phone"))
    assert message.expected == 1100
    assert expand() == 3
    assert sorted(Recipient.objects.values_list("address", flat=True)) == sorted(some)
    items = QueueItem.objects.filter(kind="sms.send")
    assert sorted(pk for item in items for pk in item.payload["recipients"]) == sorted(
        Recipient.objects.values_list("pk", flat=True)
    )


def test_a_worker_that_dies_over_a_part_repeats_it_without_duplicates(school: Account) -> None:
    message = send(school.tenant, store(school.tenant, "Phone\n" + "\n".join(numbers(700)) + "\n"), columns=Columns("Phone"))
    with mock.patch.object(expanding, "enqueue_part", side_effect=MemoryError):
        (item,) = claim(1, kinds=[sending.EXPAND_KIND])
        assert run(item).state == QueueState.PENDING
    assert Recipient.objects.count() == 0
    QueueItem.objects.filter(pk=item.pk).update(due_at=message.created)
    expand()
    # The same part once more, as after a restored backup of the queue alone.
    Message.objects.update(prepared_at=None)
    QueueItem.objects.filter(kind=sending.EXPAND_KIND).update(state=QueueState.PENDING, due_at=message.created)
    expand()
    assert Recipient.objects.count() == 700
    assert QueueItem.objects.filter(kind="sms.send").count() == 7


def test_a_switched_off_account_makes_the_list_wait(school: Account) -> None:
    message = send(school.tenant, store(school.tenant))
    Config.objects.update(is_active=False)
    (item,) = claim(1, kinds=[sending.EXPAND_KIND])
    assert run(item).state == QueueState.PENDING
    Config.objects.update(is_active=True)
    QueueItem.objects.update(due_at=message.created)
    assert expand() == 1
    assert Recipient.objects.count() == 3


def test_a_cancelled_list_is_not_read_on(school: Account) -> None:
    message = send(school.tenant, store(school.tenant, "Phone\n" + "\n".join(numbers(1200)) + "\n"), columns=Columns("Phone"))
    (item,) = claim(1, kinds=[sending.EXPAND_KIND])
    run(item)
    steering.cancel(message, by="test")
    assert expand() == 1
    message.refresh_from_db()
    assert (message.expected, message.prepared_at is not None, Recipient.objects.count()) == (500, True, 500)


def test_suppressed_rows_become_failed_recipients(school: Account) -> None:
    suppress(tenant_id=school.tenant.pk, channel="sms", address="+254711000124", reason="opt_out")
    send(school.tenant, store(school.tenant))
    expand()
    assert dict(Recipient.objects.values_list("address", "state")) == {
        "+254711000123": "queued",
        "+254711000124": "failed",
        "+254711000125": "queued",
    }


def test_each_row_of_an_email_list_is_a_letter_of_its_own(school: Account) -> None:
    make_config(school.tenant, "smtp")
    content = "Mail,Name\n" + "".join(f"p{each}@example.org,P {each}\n" for each in range(600)) + "P0@EXAMPLE.ORG,again\n"
    message = send(
        school.tenant, store(school.tenant, content), "Hi {{ name }}", Columns("Mail", "Name"), channel="email", subject="News"
    )
    assert "@" in message.sender
    assert (message.expected, message.segments, message.encoding) == (600, 0, "")
    assert expand() == 2
    rows = Recipient.objects.all()
    assert len({each.envelope for each in rows}) == rows.count() == 600
    assert {each.role for each in rows} == {"to"}


def test_a_subject_of_two_lines_is_a_bad_row(school: Account) -> None:
    rows = store(school.tenant, 'Mail,Name\na@example.org,"Jane\nBcc: x@y.z"\n')
    report = check(school.tenant, rows, "Hi", channel="email", columns=Columns("Mail"), subject="Dear {{ name }}")
    assert [each.problem for each in report.bad_rows] == ["the subject would have more than one line"]


def test_nobody_to_send_to(school: Account) -> None:
    with pytest.raises(InvalidRequest) as caught:
        send(school.tenant, store(school.tenant, "Phone\n12\n"), columns=Columns("Phone"))
    assert caught.value.attr == "file"
    assert Message.objects.count() == 0


def test_a_key_sends_once(school: Account) -> None:
    rows = store(school.tenant)
    first, second = send(school.tenant, rows, key="k"), send(school.tenant, rows, "Kwaheri", key="k")
    assert first.pk == second.pk
    assert Message.objects.count() == 1


def test_the_cap_counts_all_good_rows(school: Account) -> None:
    SendingPolicy.objects.create(tenant=school.tenant, channel="sms", unit_cost="1", currency="KES", spend_cap="2.50")
    with pytest.raises(SpendCapReached):
        send(school.tenant, store(school.tenant))
    assert Message.objects.count() == 0


def test_another_tenants_list_is_not_read(school: Account, studio: Account) -> None:
    with scope(tenant=studio.tenant):
        theirs = store(studio.tenant)
    assert lists.check_list(tenant=school.tenant, recipient_list=theirs, channel="sms", columns=COLUMNS, body="x").rows == 0


def test_a_long_call_becomes_recipients_in_the_background(school: Account) -> None:
    some = numbers(AT_ONCE + 1)
    to: list[str | Destination] = [*some[:-1], Destination(some[-1], "Jane", alternatives={"email": "jane@example.org"})]
    message = send_sms(tenant=school.tenant, to=to, message="Karibu {{ tuesday", key="long")
    assert send_sms(tenant=school.tenant, to=to, message="Karibu", key="long").pk == message.pk
    assert (message.expected, Recipient.objects.count(), RecipientList.objects.count()) == (AT_ONCE + 1, 0, 1)
    assert expand() == 3
    assert sorted(Recipient.objects.values_list("address", flat=True)) == sorted(some)
    last = Recipient.objects.get(address=some[-1])
    assert (last.name, last.alternatives) == ("Jane", {"email": "jane@example.org"})
    with pytest.raises(InvalidRequest):
        check(school.tenant, RecipientList.objects.get(), columns=Columns("to"))


def test_a_sender_with_a_pace_gets_one_turn_after_the_other_over_all_parts(school: Account, clock: MovableClock) -> None:
    """One message a second: 1,200 recipients are due in 1,200 different seconds, also when the parts are read late."""
    twilio = make_config(school.tenant, "twilio")
    view = resolve(Call(Capability.SMS, "send", config_id=twilio.pk), tenant_id=school.tenant.pk)
    rate = sending.sender_rate(view, "sms")
    assert rate
    message = send(
        school.tenant,
        store(school.tenant, "Phone\n" + "\n".join(numbers(1200)) + "\n"),
        columns=Columns("Phone"),
        config_id=twilio.pk,
    )
    start = clock()
    while items := claim(1, kinds=[sending.EXPAND_KIND]):
        run(items[0])
        clock.advance(7)
    due = list(QueueItem.objects.filter(kind="sms.send").order_by("due_at").values_list("due_at", flat=True))
    assert len(due) == 1200
    assert [round((each - start).total_seconds() * rate) for each in due[500:]] == list(range(500, 1200))
    assert Recipient.objects.filter(message=message).count() == 1200


def test_excel_lists_are_sent_to_as_csv_lists_are(school: Account) -> None:
    rows = store(school.tenant, workbook(["Phone", "Name"], [254711000123.0, "Jane"], [711000124, "Juma"]), "class.xlsx")
    send(school.tenant, rows, "Hi {{ name }}", columns=Columns("Phone"))
    expand()
    assert dict(Recipient.objects.values_list("address", "data")) == {
        "+254711000123": {"name": "Jane"},
        "+254711000124": {"name": "Juma"},
    }
