"""Sending what is owed: claimed under a lease, signed, posted, settled; and how an endpoint fares meanwhile."""
