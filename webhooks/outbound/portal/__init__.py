"""The webhook portal: pages for the tenant's own developers, by login at `/portal/` or by a short-lived link."""
