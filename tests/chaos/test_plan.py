"""A seed decides the plan; each deck has every kind of fault; and the proxy cuts as it is told."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.chaos import faults, load
from tests.chaos.proxy import CuttingProxy


def test_the_same_seed_is_the_same_plan() -> None:
    def made(seed: int) -> tuple[list[load.Item], list[faults.Fault]]:
        rng = random.Random(seed)
        return load.plan(1000, 60.0, rng), faults.plan(rng)

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_items_are_as_many_as_asked_for_and_nobody_has_the_number_of_another() -> None:
    items = load.plan(20_000, 420.0, random.Random(3))
    assert sum(item.size for item in items) == 20_000
    phones = [item.phone for item in items if item.phone]
    numbers = [number for item in items for number in item.numbers]
    everybody = [*(f"+{phone}" for phone in phones), *numbers]
    assert len(set(everybody)) == len(everybody)
    assert all(len(number) == 13 for number in everybody)
    assert len({item.name for item in items}) == len(items)
    assert Counter(item.kind for item in items)["payment"] == 300
    assert [item.at for item in items] == sorted(item.at for item in items)


@pytest.mark.parametrize("with_disk", [True, False])
def test_every_kind_of_fault_stands_in_every_deck(with_disk: bool) -> None:
    cards = faults.plan(random.Random(4), decks=1, with_disk=with_disk)
    kinds = {"kill", "database", "cut", "half", "refuse", "provider", "clock", "receiver", *(["disk"] if with_disk else [])}
    assert {card.kind for card in cards} == kinds
    assert {card.what for card in cards if card.kind == "kill"} == set(faults.KILLS)
    assert {card.what for card in cards if card.kind == "database"} == {"kill", "restart", "terminate"}


@pytest.fixture
def echo() -> Iterator[CuttingProxy]:
    """A proxy before a server that says back what it hears."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            while heard := connection.recv(1000):
                connection.sendall(heard)

    threading.Thread(target=serve, daemon=True).start()
    proxy = CuttingProxy(server.getsockname()[1])
    yield proxy
    proxy.close()
    server.close()


def say(connection: socket.socket, words: bytes) -> bytes:
    connection.sendall(words)
    return connection.recv(1000)


def test_a_calm_proxy_passes_on(echo: CuttingProxy) -> None:
    with socket.create_connection(("127.0.0.1", echo.port), timeout=5) as connection:
        assert say(connection, b"hello") == b"hello"
        assert say(connection, b"again") == b"again"
    assert echo.cuts == 0


def test_open_connections_are_reset(echo: CuttingProxy) -> None:
    with socket.create_connection(("127.0.0.1", echo.port), timeout=5) as connection:
        assert say(connection, b"hello") == b"hello"
        assert echo.cut(1.0, random.Random(0)) == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(10)


def test_half_of_a_piece_arrives_and_then_nothing(echo: CuttingProxy) -> None:
    with socket.create_connection(("127.0.0.1", echo.port), timeout=5) as connection:
        echo.cut_in_the_middle(1)
        assert say(connection, b"12345678") in (b"1234", b"")
        assert connection.recv(10) == b""
    with socket.create_connection(("127.0.0.1", echo.port), timeout=5) as connection:
        assert say(connection, b"well") == b"well"


def test_new_connections_are_refused_for_a_while(echo: CuttingProxy) -> None:
    echo.refuse(60)
    with socket.create_connection(("127.0.0.1", echo.port), timeout=5) as connection, pytest.raises(ConnectionResetError):
        connection.recv(10)
    echo.calm()
    with socket.create_connection(("127.0.0.1", echo.port), timeout=5) as connection:
        assert say(connection, b"well") == b"well"
