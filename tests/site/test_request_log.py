"""What the log of requests keeps of people who are looked for or written to."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.test import RequestFactory
from gunicorn.config import Config as GunicornConfig

from integrations_site.access_log import AccessLog
from integrations_site.private_paths import shown
from integrations_site.request_log import RequestLogMiddleware

API = "/api/v1/integrations"


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("/staff/messages/?text=0711000001&channel=sms", "/staff/messages/?text=••••&channel=sms"),
        ("/staff/sms/?to=0711000001,0711000002", "/staff/sms/?to=••••"),
        (f"{API}/messages?to=%2B254711000001&page_size=5", f"{API}/messages?to=••••&page_size=5"),
        (f"{API}/inbound-messages?from=+254711000001", f"{API}/inbound-messages?from=••••"),
        (f"{API}/suppressions?channel=email&address=jane@x.ke", f"{API}/suppressions?channel=email&address=••••"),
        (f"{API}/suppressions/3?reason=Jane+rang", f"{API}/suppressions/3?reason=••••"),
        (f"{API}/push/devices?user=jane&platform=ios", f"{API}/push/devices?user=••••&platform=ios"),
        ("/admin/messaging/message/?q=jane&e=1", "/admin/messaging/message/?q=••••&e=1"),
        ("/admin/messaging/recipient/?address__icontains=0711", "/admin/messaging/recipient/?address__icontains=••••"),
        ("/admin/x/1/change/?_changelist_filters=q%3Djane", "/admin/x/1/change/?_changelist_filters=••••"),
        ("/x?Phone=1&e-mail=2&email=3&to[]=4&%74o=5", "/x?Phone=••••&e-mail=••••&email=••••&to[]=••••&%74o=••••"),
        ("/staff/login/?next=/staff/messages/%3Ftext%3D0711", "/staff/login/?next=/staff/messages/%3F••••"),
        ("/login?next=%252Fstaff%253Fq%253Djane&x=1", "/login?next=%252Fstaff%253F••••&x=1"),
        ("https://hub.example/staff/?search=jane#top", "https://hub.example/staff/?search=••••#top"),
        ("/hooks/x?hub.mode=subscribe&hub.verify_token=0123", "/hooks/x?hub.mode=subscribe&hub.verify_token=••••"),
        ("/u?X-Amz-Signature=0123&sig=4&key=5&signature=6", "/u?X-Amz-Signature=••••&sig=••••&key=••••&signature=••••"),
        ("/staff/messages/?text=&page=2", "/staff/messages/?text=&page=2"),
        (f"{API}/messages?status=failed&created_after=2026-01-01&cursor=cD0x&channel=sms",) * 2,
    ],
)
def test_names_stay_and_people_do_not(address: str, kept: str) -> None:
    assert shown(address) == kept


def test_both_logs_keep_no_more() -> None:
    query = "to=0711000001&channel=sms"
    assert RequestLogMiddleware.format_request(RequestFactory().get(f"{API}/messages?{query}")) == (
        f"GET {API}/messages?to=••••&channel=sms"
    )
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": f"{API}/messages?{query}",
        "PATH_INFO": f"{API}/messages",
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_REFERER": f"https://hub.example/staff/messages/?{query}",
    }
    response = SimpleNamespace(status="200 OK", sent=10, headers=[])
    request = SimpleNamespace(headers=[("REFERER", environ["HTTP_REFERER"])])
    found = AccessLog(GunicornConfig()).atoms(response, request, environ, timedelta(milliseconds=5))
    assert (found["r"], found["q"]) == (f"GET {API}/messages?to=••••&channel=sms HTTP/1.1", "to=••••&channel=sms")
    assert "0711000001" not in str(found)
