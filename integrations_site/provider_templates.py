"""Finds the templates of providers: the folder `templates` beside each one's declaration, wherever it is installed."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from django.template.loaders import filesystem

from integrations.registry import providers


class Loader(filesystem.Loader):
    """Serves `<slug>/page.html` out of the provider's package; comes last, so that no provider replaces a page of the hub."""

    def get_dirs(self) -> list[str | Path]:
        folders = [Path(str(files(provider.package))) / "templates" for provider in providers().values()]
        return [folder for folder in folders if folder.is_dir()]
