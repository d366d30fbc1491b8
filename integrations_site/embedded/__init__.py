"""The hub's own PostgreSQL: started and stopped by one owner process, found by everybody else through a file.

`database_url()` is what settings call: it reads one small file and has no side effect. `EmbeddedPostgres` is for
owners only (`manage.py database`, `manage.py up`, `manage.py demo`, the test plugin).
"""

from integrations_site.embedded.address import Address, database_url, default_var_dir
from integrations_site.embedded.places import EmbeddedError
from integrations_site.embedded.server import EmbeddedPostgres, ServerStatus

__all__ = ["Address", "EmbeddedError", "EmbeddedPostgres", "ServerStatus", "database_url", "default_var_dir"]
