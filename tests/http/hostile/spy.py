"""Sees every dial of this process at the socket, and a resolver under the test's control."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Any

import pytest


class Spy:
    """Records who is dialled. Only what is in `allowed` is really connected, all else is refused as by a closed port."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dialled: list[tuple[str, int]] = []
        self.looked_up: list[str] = []
        self.allowed: set[tuple[str, int]] = set()
        self._names: dict[str, list[list[str]]] = {}
        self._really = socket.getaddrinfo
        really = socket.socket.connect
        spy = self

        def connect(own: socket.socket, address: Any) -> None:
            # Django's own connection is the C library's: it does not come by here.
            target = (str(address[0]), int(address[1])) if isinstance(address, tuple) else (str(address), 0)
            spy.dialled.append(target)
            if target not in spy.allowed:
                raise ConnectionRefusedError(f"the test lets nobody dial {target}")
            really(own, address)

        def connect_ex(own: socket.socket, address: Any) -> int:
            connect(own, address)
            return 0

        monkeypatch.setattr(socket.socket, "connect", connect)
        monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def name(self, host: str, *answers: list[str]) -> None:
        """Let `host` resolve to these, one answer after the other, the last one for ever."""
        self._names[host] = [list(answer) for answer in answers]

    def _resolve(self, host: Any, port: Any, *args: Any, **options: Any) -> list[tuple[Any, ...]]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name)  # what has been resolved and checked comes by once more, as an address
            return self._really(host, port, *args, **options)
        self.looked_up.append(name)
        if name not in self._names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        answers = self._names[name]
        found, canonical = [], ""
        for one in answers.pop(0) if len(answers) > 1 else answers[0]:
            if one.startswith("alias of "):
                canonical = one.removeprefix("alias of ")
            elif ":" in one:
                address, _, zone = one.partition("%")
                # The system gives the zone in both shapes: in the text, and as a number behind it.
                sockaddr = (f"{address}%{zone}" if zone else address, port or 0, 0, 1 if zone else 0)
                found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, canonical, sockaddr))
            else:
                found.append((socket.AF_INET, socket.SOCK_STREAM, 6, canonical, (one, port or 0)))
        return found
