"""A page is called what the sidebar calls it."""

from __future__ import annotations

from collections.abc import Callable
from html import unescape

import pytest
from django.test import Client

from integrations_site.navigation import GROUPS, name_of
from tests.admin.conftest import list_url

pytestmark = pytest.mark.django_db
LISTS = {model: name for _, entries in GROUPS for name, _, model in entries if "?" not in model}


def heading(client: Client, url: str) -> str:
    page = client.get(url).content.decode()
    return unescape(page.partition("<h1")[2].partition("</h1>")[0])


def test_every_list_is_called_as_in_the_sidebar(browser_of: Callable[[str], Client]) -> None:
    client = browser_of("operator")
    for label, name in LISTS.items():
        assert f" {name} " in f" {' '.join(heading(client, list_url(label)).split())} ", label


def test_what_is_not_in_the_sidebar_keeps_its_name(browser_of: Callable[[str], Client]) -> None:
    assert name_of("/admin/nowhere/") == ""
    assert "Turned away" in heading(browser_of("admin"), list_url("webhooks_inbound.rejection"))


def test_an_empty_list_offers_nothing_that_can_not_be_done(browser_of: Callable[[str], Client]) -> None:
    client, url = browser_of("admin"), list_url("webhooks_inbound.rejection")
    page = client.get(url).content.decode()
    assert "There are no rows yet." in page
    assert "Reset filters" not in page
    searched = client.get(url, {"q": "nothing has this"}).content.decode()
    assert "No row is what you asked for." in searched
    assert "Reset filters" in searched
