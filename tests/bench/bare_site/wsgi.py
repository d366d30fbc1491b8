import os

os.environ["HUB_WEB"] = "1"
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.bench.bare_site.settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
