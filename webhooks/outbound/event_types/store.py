"""What a tenant's own store hands in: the hub emits none of these. Objects may have members that are not listed here."""

from __future__ import annotations

from typing import Any

from webhooks.outbound.event_types.kinds import EventType
from webhooks.outbound.event_types.shapes import CURRENCY, MINOR_UNITS, TEXT, TIME, TIME_OR_NULL, Schema

_ID: Schema = {"type": "string", "minLength": 1, "description": "your own id; the same in all events of this object"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_URL: Schema = {"type": "string", "format": "uri", "description": "fetched over https, from a public address"}


def _object(properties: dict[str, Any], *required: str, nullable: bool = False) -> dict[str, Any]:
    return {"type": ["object", "null"] if nullable else "object", "properties": properties, "required": list(required)}


_CUSTOMER = _object({"name": _TEXT_OR_NULL, "email": _TEXT_OR_NULL, "phone": _TEXT_OR_NULL}, nullable=True)
_ADDRESS = _object(
    {
        "name": TEXT,
        "company": _TEXT_OR_NULL,
        "line1": TEXT,
        "line2": _TEXT_OR_NULL,
        "city": TEXT,
        "region": _TEXT_OR_NULL,
        "postal_code": _TEXT_OR_NULL,
        "country": {"type": "string", "minLength": 2, "maxLength": 2, "description": "ISO 3166-1 alpha-2"},
        "phone": _TEXT_OR_NULL,
        "email": _TEXT_OR_NULL,
    },
    "name",
    "line1",
    "city",
    "country",
    nullable=True,
)
_ITEM = _object(
    {
        "product": {"type": "string", "minLength": 1, "description": "your own product code"},
        "quantity": {"type": "integer", "minimum": 1},
        "image_url": _URL,
        "file": {"type": "string", "description": "id of a file in the hub's storage, in place of `image_url`"},
        "options": {"type": "object", "description": "as the product has them: paper, finish, frame"},
    },
    "product",
    "quantity",
)
_SHIPMENT = _object(
    {"carrier": TEXT, "tracking_number": TEXT, "tracking_url": {"type": "string", "format": "uri"}, "shipped_at": TIME}
)
_ORDER: dict[str, Any] = {
    "id": _ID,
    "number": {"type": "string", "description": "as your customer knows it"},
    "status": TEXT,
    "total": MINOR_UNITS,
    "currency": CURRENCY,
    "customer": _CUSTOMER,
    "items": {"type": "array", "items": _ITEM},
    "ship_to": _ADDRESS,
    "shipping": {"type": "string", "description": "the way of shipping, by your own name of it"},
    "created": TIME,
    "updated": TIME,
}
_GALLERY: dict[str, Any] = {
    "id": _ID,
    "title": TEXT,
    "status": TEXT,
    "url": {"type": "string", "format": "uri", "description": "where the customer sees it"},
    "photos": {"type": "integer", "minimum": 0, "description": "how many there are"},
    "customer": _CUSTOMER,
    "expires": TIME_OR_NULL,
    "created": TIME,
    "updated": TIME,
}


def _order(*required: str, **more: Schema) -> Schema:
    # An amount without its currency says nothing.
    return {**_object({**_ORDER, **more}, "id", *required), "dependentRequired": {"total": ["currency"]}}


_CREATED, _UPDATED = "2024-01-15T10:29:41Z", "2024-01-16T08:12:00Z"
_ADA = {"name": "Ada Okafor", "email": "ada@example.com", "phone": "+254700000001"}
_PLACED: dict[str, Any] = {
    "id": "42",
    "number": "1042",
    "status": "processing",
    "total": 539000,
    "currency": "KES",
    "customer": _ADA,
    "items": [
        {
            "product": "print-20x30",
            "quantity": 2,
            "image_url": "https://store.example/originals/7f3a.jpg",
            "file": "",
            "options": {"paper": "lustre"},
        }
    ],
    "ship_to": {
        "name": "Ada Okafor",
        "company": None,
        "line1": "12 Riverside Drive",
        "line2": None,
        "city": "Nairobi",
        "region": None,
        "postal_code": "00100",
        "country": "KE",
        "phone": "+254700000001",
        "email": "ada@example.com",
    },
    "shipping": "standard",
    "created": _CREATED,
    "updated": _CREATED,
}
_SHOWN: dict[str, Any] = {
    "id": "g-17",
    "title": "Okafor wedding",
    "status": "ready",
    "url": "https://studio.example/g/17",
    "photos": 412,
    "customer": _ADA,
    "expires": "2024-07-15T00:00:00Z",
    "created": _CREATED,
    "updated": _CREATED,
}

STORE: tuple[EventType, ...] = (
    EventType(
        "order.created",
        "Your store took an order. This is how it hands its orders over.",
        _order("items"),
        _PLACED,
        publishable=True,
    ),
    EventType(
        "order.updated",
        "An order changed: it is told as it is now.",
        _order(),
        {**_PLACED, "status": "on hold", "updated": _UPDATED},
        publishable=True,
    ),
    EventType(
        "order.fulfilled",
        "All of an order was sent to the customer; `shipments` says how.",
        _order(shipments={"type": "array", "items": _SHIPMENT}),
        {
            **_PLACED,
            "status": "fulfilled",
            "updated": _UPDATED,
            "shipments": [
                {
                    "carrier": "Posta",
                    "tracking_number": "RR123456785KE",
                    "tracking_url": "https://track.example/RR123456785KE",
                    "shipped_at": "2024-01-16T08:00:00Z",
                }
            ],
        },
        publishable=True,
    ),
    EventType(
        "gallery.created",
        "A gallery was made; its customer has not been told yet.",
        _object(_GALLERY, "id"),
        _SHOWN,
        publishable=True,
    ),
    EventType(
        "gallery.delivered",
        "A gallery was handed to its customer.",
        _object({**_GALLERY, "delivered_at": TIME}, "id"),
        {**_SHOWN, "status": "delivered", "updated": _UPDATED, "delivered_at": _UPDATED},
        publishable=True,
    ),
)
