"""Push notifications and the registry of devices."""
