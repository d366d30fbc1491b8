"""API keys and the audit, as the API and its gate show them."""
