"""What an endpoint is owed already, when it begins to keep an order, keeps another one, or none."""

from __future__ import annotations

from django.db import connection

from integrations.contracts import clock
from webhooks.outbound.models import Endpoint, Ordering

# What is in flight is left to its worker. What goes past the order on purpose (tests, sent again by hand) has no key, which
# can't be told from those that never had one once the endpoint begins to keep an order: all but the tests get theirs.
_REORDER = """
WITH waiting AS (
    SELECT id FROM webhooks_outbound_delivery
    WHERE endpoint_id = %(endpoint)s AND state IN ('pending', 'gathering', 'held')
        AND (lease_until IS NULL OR lease_until <= %(now)s) AND (%(begins)s OR order_key <> '')
    ORDER BY id FOR UPDATE
)
UPDATE webhooks_outbound_delivery d
SET order_key = CASE
    WHEN %(ordering)s = 'none' THEN ''
    WHEN %(ordering)s = 'all' OR %(batches)s OR v.object_id = '' THEN '*'
    ELSE v.object_type || ':' || v.object_id
END
FROM waiting, webhooks_outbound_event v
WHERE d.id = waiting.id AND v.id = d.event_id AND NOT (v.object_type = 'webhook' AND v.object_id = d.endpoint_id)
"""


def reorder(endpoint: Endpoint, *, before: str) -> None:
    """Give what waits for the endpoint the keys of its order; `before` is the order that it kept so far. In the transaction of
    the change, with the endpoint's row locked. The keys are those of `publish.order_key`."""
    with connection.cursor() as cursor:
        cursor.execute(
            _REORDER,
            {
                "endpoint": endpoint.pk,
                "now": clock.now(),
                "ordering": endpoint.ordering,
                "batches": endpoint.batch_size > 1,
                "begins": before == Ordering.NONE,
            },
        )
