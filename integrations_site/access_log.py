"""Gunicorn's access log (off unless `--access-logfile` is given) with the addresses as our own log shows them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from integrations_site.private_paths import shown


class AccessLog(Logger):  # type: ignore[misc]
    """Masks request line, path, query and referrer."""

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> dict[str, Any]:
        path, _, query = str(environ.get("RAW_URI", "")).partition("?")
        address = shown(f"{path}?{query}" if query else path)
        shown_path, _, shown_query = address.partition("?")
        masked = {
            "RAW_URI": address,
            "PATH_INFO": shown_path,
            "QUERY_STRING": shown_query,
            "HTTP_REFERER": shown(str(environ.get("HTTP_REFERER", "-"))),
        }
        found: dict[str, Any] = super().atoms(resp, req, {**environ, **masked}, request_time)
        if "{referer}i" in found:
            found["{referer}i"] = masked["HTTP_REFERER"]
        return found
