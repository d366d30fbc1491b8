"""What a bench runs with: the tests' keys and loopback, but no file of theirs looked for at each request."""

from __future__ import annotations

from integrations_site.settings import test as of_tests

globals().update({name: value for name, value in vars(of_tests).items() if name.isupper()})

# Where receivers stand that are not on loopback: those of workers on other machines.
OUTBOUND_ALLOWED_NETWORKS = [*of_tests.OUTBOUND_ALLOWED_NETWORKS, *of_tests.env.list("BENCH_NETWORKS", default=[])]
WHITENOISE_AUTOREFRESH = False
WHITENOISE_USE_FINDERS = False
LOG_FORMAT = "json"
# A bench is one client with one key: how many of its requests are taken is what is measured.
API_RATE_PER_MINUTE = 1_000_000
