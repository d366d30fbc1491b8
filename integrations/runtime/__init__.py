"""Carries out calls: resolves the config, keeps limits and breakers, queues, retries, reconciles. Names no provider."""
