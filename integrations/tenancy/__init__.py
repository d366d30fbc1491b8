"""Who may do what for which tenant: authentication, permissions, scopes, limits, and the base classes of API views."""
