"""The files of an e-mail that is being written: those kept from before, without the removed, and the new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

from integrations.contracts.messaging import Media

MOST_FILES = 20


@dataclass(frozen=True, slots=True)
class Attached:
    """`files` go along. `had_some`: files were kept before. `told`: the request itself adds or removes some. `gone`: of what
    the form may have had something is not kept any more. `problem` is text for the person; empty where nothing is wrong."""

    files: tuple[Media, ...] = field(default=(), repr=False)
    had_some: bool = False
    told: bool = False
    gone: bool = False
    problem: str = ""


def token_of(file: Media) -> str:
    """Return what names a file in a form: its name and content, not its place, which moves when another one is removed."""
    return hashlib.sha256(file.filename.encode() + b"\0" + file.content).hexdigest()[:32]


def attach(request: HttpRequest, before: Sequence[Media] | None, *, limit: int) -> Attached:
    """Return what a form's request makes of the files kept `before` (None: nothing is kept). Where the new ones are too many
    or too large for `limit` bytes, none of them is taken. A file that is there already is taken once, for people press Send
    twice and go back."""
    removed = set(request.POST.getlist("remove_file"))
    shown = set(request.POST.getlist("has_file")) - removed
    files = {token_of(each): each for each in before or ()}
    files = {token: each for token, each in files.items() if token not in removed}
    uploaded = request.FILES.getlist("attachments")
    new, problem = _added(files, uploaded, limit)
    lost = shown - set(new)
    if lost and not problem:
        problem = "Some of the files are not kept any more: look which are there, and choose the others again."
    told, gone = bool(removed or uploaded), before is None or bool(lost)
    return Attached(tuple(new.values()), bool(before), told, gone, problem)


def _added(files: dict[str, Media], uploaded: Sequence[UploadedFile[Any]], limit: int) -> tuple[dict[str, Media], str]:
    size = sum(each.size or 0 for each in uploaded)
    if size > limit:  # it is not even read
        return files, _too_large(size, limit)
    new = dict(files)
    for each in uploaded:
        media = Media(each.name or "file", each.content_type or "application/octet-stream", content=each.read())
        new.setdefault(token_of(media), media)
    size = sum(len(each.content) for each in new.values())
    if size > limit:
        return files, _too_large(size, limit)
    if len(new) > MOST_FILES:
        return files, f"At most {MOST_FILES} files."
    return new, ""


def _too_large(size: int, limit: int) -> str:
    return f"Together they have {size / 1e6:.1f} MB; at most {limit / 1e6:.1f} MB can be sent."
