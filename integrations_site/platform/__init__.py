"""Routes over several features at once: health, metrics, logs, queue, the plain registry, notify."""
