"""What the queue does for messaging, one module a kind of work."""
