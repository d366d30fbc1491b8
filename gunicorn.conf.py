"""What every gunicorn that is started in this folder does, on top of its command line."""

logger_class = "integrations_site.access_log.AccessLog"
worker_class = "integrations_site.web_worker.EvenThreadWorker"
