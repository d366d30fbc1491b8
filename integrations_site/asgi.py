"""The ASGI application, for servers that want one; every view is synchronous."""

import os

# Only web processes pool their database connections (architecture.md, decision 1); said before the settings are read.
os.environ.setdefault("HUB_WEB", "1")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "integrations_site.settings.production")

from django.core.asgi import get_asgi_application

application = get_asgi_application()
