"""What a Django team would otherwise take: django-webhook with Celery. A small project of its own, run by a Python of its own
(see `tests/bench/peer.py`); nothing in the hub imports it."""
