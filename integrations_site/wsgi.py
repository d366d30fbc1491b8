"""The WSGI application: `gunicorn integrations_site.wsgi`."""

import os

# Only web processes pool their database connections (architecture.md, decision 1); said before the settings are read.
os.environ.setdefault("HUB_WEB", "1")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "integrations_site.settings.production")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
