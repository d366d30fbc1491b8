"""The Django project: settings, routes, wiring, and the processes that run it."""

__version__ = "0.1.0"
