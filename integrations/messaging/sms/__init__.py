"""Text messages: numbers, parts, sending."""
