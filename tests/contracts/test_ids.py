"""Ids that leave the house sort in the order in which they were made."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from integrations.contracts.ids import is_id, new_id


def test_ids_of_one_process_sort_in_the_order_of_their_making() -> None:
    made = [new_id("evt") for _ in range(5_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(is_id("evt", each) for each in made)


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_id("evt"), range(20_000)))
    assert len(set(made)) == len(made)


def test_a_forked_child_does_not_repeat_its_parents_ids() -> None:
    new_id("evt")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join(new_id("evt") for _ in range(500)).encode())
        os._exit(0)
    os.close(writing)
    mine = {new_id("evt") for _ in range(500)}
    with os.fdopen(reading) as pipe:
        theirs = set(pipe.read().split("\n"))
    os.waitpid(child, 0)
    assert len(theirs) == 500
    assert not mine & theirs
