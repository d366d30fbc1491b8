"""Which recipients and templates do what (own convention: the last three digits of the number)."""

from __future__ import annotations

from integrations.simulators import Magic

UNDELIVERABLE, WINDOW, MARKETING, PAIR, RATE = "026", "047", "049", "056", "429"
READ_ONLY, TWICE, TOKEN = "900", "901", "190"
PAUSED = "paused_"

LATER_FAILURES = {
    UNDELIVERABLE: (131026, "Message undeliverable", "Message Undeliverable."),
    MARKETING: (
        131049,
        "This message was not delivered to maintain healthy ecosystem engagement.",
        "In order to maintain a healthy ecosystem engagement, the message failed to be delivered.",
    ),
}

MAGIC = (
    Magic(f"number …{UNDELIVERABLE}", "accepted, then failed with 131026"),
    Magic(f"number …{WINDOW}", "free text and files refused with 131047, whenever the customer wrote"),
    Magic(f"number …{MARKETING}", "accepted, then failed with 131049"),
    Magic(f"number …{PAIR}", "HTTP 400 with 131056 (pair rate) once, then accepted"),
    Magic(f"number …{RATE}", "HTTP 429 with 130429 (throughput) once, then accepted"),
    Magic(f"number …{READ_ONLY}", "accepted; read without delivered"),
    Magic(f"number …{TWICE}", "accepted; delivered twice"),
    Magic(f"number …{TOKEN}", "HTTP 401 with 190, as if the token had just ended"),
    Magic(f"template {PAUSED}…", "refused with 132015"),
    Magic("a template that is not listed", "HTTP 404 with 132001"),
    Magic("any other number", "sent after status_delay (0.3 s), delivered after twice that; text needs an open window of 24 h"),
)
