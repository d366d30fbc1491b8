"""What logs keep of the payer's addresses, and where a provider's page template is found."""

from __future__ import annotations

import json
import logging
import runpy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.template import TemplateDoesNotExist
from django.template.engine import Engine
from gunicorn.config import Config as GunicornConfig
from gunicorn.util import load_class
from structlog.stdlib import ProcessorFormatter

from integrations import registry
from integrations_site import provider_templates
from integrations_site.access_log import AccessLog
from integrations_site.private_paths import shown

TOKEN = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
SECRET = "pi_1_secret_2"


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        (f"/pay/{TOKEN}", "/pay/••••"),
        (f"/pay/{TOKEN}/return", "/pay/••••/return"),
        (f"/pay/{TOKEN}/return?payment_intent_client_secret={SECRET}&redirect_status=x", "/pay/••••/return"),
        (f"/pay/{TOKEN}?setup_intent_client_secret={SECRET}", "/pay/••••"),
        (f"https://hub.example/pay/{TOKEN}/cancel?token=1", "https://hub.example/pay/••••/cancel"),
        (f"/hooks/{TOKEN}/events?x=1", "/hooks/••••/events?x=1"),
        ("/api/v1/payments?status=succeeded&limit=5", "/api/v1/payments?status=succeeded&limit=5"),
        (f"/connect/callback?code=1&access_token={SECRET}", "/connect/callback?code=1&access_token=••••"),
    ],
)
def test_what_is_kept_of_an_address(address: str, kept: str) -> None:
    assert shown(address) == kept


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"Service Unavailable: /pay/{TOKEN}", "Service Unavailable: /pay/••••"),
        (f"Method Not Allowed (POST): /pay/{TOKEN}/return", "Method Not Allowed (POST): /pay/••••/return"),
        (f'sent {{"url": "https://hub.example/pay/{TOKEN}?x={SECRET}", "n": 1}}',
         'sent {"url": "https://hub.example/pay/••••", "n": 1}'),
    ],
)  # fmt: skip
def test_every_log_line_keeps_no_more(said: str, kept: str) -> None:
    (formatter,) = {each.formatter for each in logging.getLogger().handlers if isinstance(each.formatter, ProcessorFormatter)}
    record = logging.LogRecord("django.request", logging.ERROR, __file__, 1, "%s", (said,), None)
    assert json.loads(formatter.format(record))["event"] == kept


def test_gunicorns_own_log_keeps_no_more() -> None:
    query = f"payment_intent_client_secret={SECRET}"
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": f"/pay/{TOKEN}/return?{query}",
        "PATH_INFO": f"/pay/{TOKEN}/return",
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_REFERER": f"https://hub.example/pay/{TOKEN}",
    }
    response = SimpleNamespace(status="200 OK", sent=10, headers=[])
    request = SimpleNamespace(headers=[("REFERER", environ["HTTP_REFERER"])])
    found = AccessLog(GunicornConfig()).atoms(response, request, environ, timedelta(milliseconds=5))
    assert (found["r"], found["U"], found["q"]) == ("GET /pay/••••/return HTTP/1.1", "/pay/••••/return", "")
    assert (found["f"], found["{referer}i"]) == ("https://hub.example/pay/••••", "https://hub.example/pay/••••")
    assert (TOKEN in str(found), SECRET in str(found)) == (False, False)
    assert environ["QUERY_STRING"] == query, "the request itself stays whole"


def test_gunicorn_is_told_so_where_it_is_started() -> None:
    said = runpy.run_path(str(Path(settings.BASE_DIR) / "gunicorn.conf.py"))
    assert load_class(said["logger_class"]) is AccessLog


def test_templates_of_providers_outside_the_tree_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_pay" / "templates" / "acme").mkdir(parents=True)
    (tmp_path / "acme_pay" / "__init__.py").write_text("")
    (tmp_path / "acme_pay" / "templates" / "acme" / "pay.html").write_text("<form>{{ x }}</form>")
    monkeypatch.syspath_prepend(str(tmp_path))
    known: Any = registry.providers()
    added = replace(known["stripe"], slug="acme", package="acme_pay")
    monkeypatch.setattr(provider_templates, "providers", lambda: {**known, "acme": added})
    engine = Engine(loaders=["integrations_site.provider_templates.Loader"])
    assert engine.get_template("acme/pay.html").origin.name == str(tmp_path / "acme_pay" / "templates" / "acme" / "pay.html")
    assert engine.get_template("stripe/pay.html").origin.name.endswith("providers/stripe/templates/stripe/pay.html")
    with pytest.raises(TemplateDoesNotExist):
        engine.get_template("acme/../__init__.py")
