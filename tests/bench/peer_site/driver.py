"""`python -m tests.bench.peer_site.driver`: the process that saves facts, when told to. A companion (see `companion.py`)."""

import time

import django

from tests.bench.companion import serve
from tests.bench.peer_site.worker import app

QUEUE = "celery"


def set_up() -> None:
    """Make the tables, and the one webhook that there is."""
    from django.core.management import call_command
    from django_webhook.models import Webhook, WebhookSecret, WebhookTopic

    call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)
    topic, _ = WebhookTopic.objects.get_or_create(name="peer_site.Fact/create")
    webhook = Webhook.objects.create(url="http://127.0.0.1:9/")
    webhook.topics.add(topic)
    WebhookSecret.objects.create(webhook=webhook, token="a secret of some length, as it should be")


def aim(url: str) -> None:
    """Send to this address from now on; what was sent before is forgotten."""
    from django_webhook.models import Webhook, WebhookEvent

    WebhookEvent.objects.all().delete()
    Webhook.objects.update(url=url)


def alive() -> bool:
    return bool(app.control.ping(timeout=1.0))


def hold() -> None:
    """Let tasks pile up from now on."""
    app.control.cancel_consumer(QUEUE, reply=True)


def release() -> float:
    """Have tasks worked off from now on; return the moment."""
    began = time.monotonic()
    app.control.add_consumer(QUEUE, reply=False)
    return began


def say(run: str, count: int, data: dict, per_second: int = 0) -> list[float]:
    """Save so many facts, `per_second` where that is given; return the moments before the first and after each."""
    from tests.bench.peer_site.models import Fact

    moments = [time.monotonic()]
    for number in range(count):
        if per_second:
            time.sleep(max(0.0, moments[0] + number / per_second - time.monotonic()))
        Fact.objects.create(type="bench.happened", data={**data, "mark": f"mark-{run}-{number:07d}"})
        moments.append(time.monotonic())
    return moments


def stored() -> int:
    """Return how many sent events django-webhook has on record as answered well."""
    from django_webhook.models import WebhookEvent

    return WebhookEvent.objects.filter(status="SUCCESS").count()


if __name__ == "__main__":
    django.setup()
    commands = (set_up, aim, alive, hold, release, say, stored)
    serve({each.__name__: each for each in commands})
