"""The HTTP API of messaging, one module a subject; `messages.routes` holds them all."""
