"""Addresses below /portal/: each page twice, by login and by link (`/portal/l/<token>/...`)."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, include, path, re_path

from webhooks.outbound.portal import catalogue, deliveries, endpoints, people, recovery
from webhooks.outbound.portal.access import Page, by_link, by_login, gone
from webhooks.outbound.portal.links import TOKEN

app_name = "portal"


@dataclass(frozen=True, slots=True)
class Entry:
    """A page. `writes`: posting to it changes something; `adds`: only for who may make something new; `people`: not for
    links."""

    pattern: str
    view: Page
    name: str
    writes: bool = False
    adds: bool = False
    people: bool = False


_ENDPOINT = r"^endpoints/(?P<endpoint_id>we_[0-9a-z]{26})/"
_DELIVERY = _ENDPOINT + r"deliveries/(?P<delivery_id>dlv_[0-9a-z]{26})/"
_REPLAY = _ENDPOINT + r"recover/(?P<replay_id>rpl_[0-9a-z]{26})/"

PAGES = (
    Entry(r"^$", endpoints.listing, "endpoints"),
    Entry(r"^endpoints/new/$", endpoints.add, "add", adds=True),
    Entry(rf"{_ENDPOINT}$", endpoints.detail, "endpoint"),
    Entry(rf"{_ENDPOINT}edit/$", endpoints.edit, "edit", writes=True),
    Entry(rf"{_ENDPOINT}rotate/$", endpoints.rotate, "rotate", writes=True),
    Entry(rf"{_ENDPOINT}switch/$", endpoints.switch, "switch", writes=True),
    Entry(rf"{_ENDPOINT}delete/$", endpoints.delete, "delete", writes=True),
    Entry(rf"{_ENDPOINT}test/$", endpoints.send_test, "test", writes=True),
    Entry(rf"{_ENDPOINT}verify/$", catalogue.samples, "samples"),
    Entry(rf"{_ENDPOINT}deliveries/$", deliveries.listing, "deliveries"),
    Entry(rf"{_DELIVERY}$", deliveries.detail, "delivery"),
    Entry(rf"{_DELIVERY}resend/$", deliveries.resend, "resend", writes=True),
    Entry(rf"{_ENDPOINT}recover/$", recovery.recover, "recover", writes=True),
    Entry(rf"{_REPLAY}$", recovery.replay, "replay"),
    Entry(rf"{_REPLAY}cancel/$", recovery.cancel, "cancel_replay", writes=True),
    Entry(r"^dead-letters/$", deliveries.dead_letters, "dead_letters"),
    Entry(r"^dead-letters/resend/$", deliveries.redrive, "redrive", writes=True),
    Entry(r"^events/$", catalogue.event_types, "event_types"),
    Entry(r"^events/(?P<name>[a-z][a-z0-9_.]{1,99})/$", catalogue.event_type, "event_type"),
    Entry(r"^links/$", people.link_list, "links", adds=True, people=True),
    Entry(r"^links/(?P<link_id>pl_[0-9a-z]{26})/revoke/$", people.revoke, "revoke", adds=True, people=True),
)

_links: list[URLPattern] = [
    re_path(each.pattern, by_link(each.view, writes=each.writes, adds=each.adds), name=each.name)
    for each in PAGES
    if not each.people
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("organisation/", people.pick_tenant, name="tenant"),
    *(re_path(each.pattern, by_login(each.view, writes=each.writes, adds=each.adds), name=each.name) for each in PAGES),
    re_path(rf"^l/(?P<token>{TOKEN})/", include((_links, "link"), namespace="link")),
    re_path(r"^l/", gone),
]
