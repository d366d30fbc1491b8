"""Access tokens that the hub holds at providers."""
