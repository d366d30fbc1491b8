"""Processes kept alive: the worker supervisor (`manage.py worker`) and the one-machine manager (`manage.py up`)."""
