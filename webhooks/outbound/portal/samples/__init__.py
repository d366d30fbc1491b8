"""Programs that verify our signatures, for receivers to take. The tests run these very files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ENDPOINT_PLACE = "we_00000000000000000000000000"
KEY_PLACE = "whsec_REPLACE_ME"


@dataclass(frozen=True, slots=True)
class Sample:
    """`name` is what people call the language, `filename` what the file is called in this folder, `needs` what it runs on."""

    slug: str
    name: str
    filename: str
    needs: str
    asymmetric: bool = True

    @property
    def path(self) -> Path:
        return Path(__file__).with_name(self.filename)

    def text(self, *, endpoint_id: str, public_key: str = "") -> str:
        """Return the program for an endpoint. It holds no secret: a public key stands in its place, or what to put there."""
        text = self.path.read_text("utf-8").replace(ENDPOINT_PLACE, endpoint_id)
        return text.replace(KEY_PLACE, public_key) if public_key and self.asymmetric else text


SAMPLES = (
    Sample("python", "Python", "python.py", "Python 3.10 or newer; the package cryptography for ed25519 keys only"),
    Sample("javascript", "JavaScript", "javascript.mjs", "Node.js 18 or newer, Deno, Bun, workers or a browser; no packages"),
    Sample("shell", "Shell", "shell.sh", "bash and openssl; HMAC keys only (whsec_)", asymmetric=False),
)
