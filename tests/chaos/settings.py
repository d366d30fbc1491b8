"""The settings of a hub that is to be harmed: the demo's, and a clock that can be turned."""

from __future__ import annotations

from django.utils import timezone

from integrations.contracts import clock
from integrations_site.settings import demo
from tests.chaos.skew import of_this_process

globals().update({name: getattr(demo, name) for name in dir(demo) if name.isupper()})

# Both: what a machine's wrong clock would do. `time.time()` stays right, which only the log's lines show.
if (_skewed := of_this_process()) is not None:
    clock._source = _skewed.now
    timezone.now = _skewed.now
