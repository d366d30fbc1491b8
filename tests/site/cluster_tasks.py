"""Tasks that a real cluster runs in the supervisor's tests."""

import os
import time
from pathlib import Path


def until_stop_flag(note: str, seconds: float) -> str:
    """Work until the supervisor's stop flag is there, at most `seconds`; write to the file `note` how it ended."""
    Path(note).write_text("begun", encoding="utf-8")
    flag = Path(os.environ["HUB_STOP_FLAG"])
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if flag.exists():
            Path(note).write_text("saw the stop flag", encoding="utf-8")
            return "stopped"
        time.sleep(0.05)
    Path(note).write_text("worked to the end", encoding="utf-8")
    return "ended"


def note_down(note: str) -> None:
    """Write to the file `note` in which group the task ran."""
    Path(note).write_text(os.environ["HUB_GROUP"], encoding="utf-8")
