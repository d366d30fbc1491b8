"""The SMTP conversation, step by step: what can be known of a message hangs on where its conversation broke off.

A mail server can't be asked afterwards whether it took a message. Before the final dot nothing can have been sent (RFC 5321,
4.1.1.4: only the end of data hands a message over); after it only the server's answer tells.
"""

from __future__ import annotations

import re
import smtplib
import socket
from contextlib import suppress

from integrations.contracts.adapter import MailReply
from integrations.contracts.errors import OutcomeUnknown, ProviderUnavailable

SHOWN_REPLY = 200
GOODBYE_SECONDS = 2.0
CLOSING = 421
"""Whatever was asked, with this answer the server hangs up (RFC 5321, 3.8)."""


def one_line(text: str) -> str:
    """Return text as it may stand in a header: printable letters on one line, whatever was put into it."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def read_reply(code: int, words: bytes | str) -> MailReply:
    """Return a server's answer as it may be shown: one line, capped.

    The enhanced code that each line of a longer answer repeats stands once.
    """
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    lines = text.splitlines()
    first = re.match(r"[245]\.\d{1,3}\.\d{1,3}\s", lines[0]) if lines else None
    if first:
        lines[1:] = [line.removeprefix(first[0]) for line in lines[1:]]
    return MailReply(code, one_line(" ".join(lines))[: SHOWN_REPLY - 4])


class Dialogue:
    """One connection to a mail server; `name` is how errors name the server's provider.

    The steps of a message are `sender`, `recipient` for each, `offer`. Their refusals are returned. A connection that breaks
    in the first two is `ProviderUnavailable`.
    """

    def __init__(self, smtp: smtplib.SMTP, *, name: str) -> None:
        self._smtp = smtp
        self._name = name
        if smtp.sock is not None:
            # The final dot goes out by itself, right after the text: it must not wait for the text's acknowledgement.
            with suppress(OSError):
                smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def is_open(self) -> bool:
        return self._smtp.sock is not None

    def wait(self, seconds: float) -> None:
        """Wait at most so long for each answer from now on."""
        if self._smtp.sock is not None:
            self._smtp.sock.settimeout(seconds)

    def sender(self, address: str, size: int) -> MailReply:
        """Begin a message of `size` bytes from `address` ('' for none)."""
        try:
            self._smtp.ehlo_or_helo_if_needed()
            return self._read(*self._smtp.mail(address, self._options(size)))
        except OSError as error:  # every error of smtplib is one
            raise self._broken(error) from error

    def recipient(self, address: str) -> MailReply:
        """Name one recipient of the message begun."""
        try:
            return self._read(*self._smtp.rcpt(address))
        except OSError as error:
            raise self._broken(error) from error

    def offer(self, text: bytes, *, seconds: float) -> MailReply:
        """Send the message's text and return the answer, 2xx, 4xx or 5xx, waiting at most `seconds` for it.

        Raises `ProviderUnavailable` for what breaks before the final dot, `OutcomeUnknown` after it.
        """
        body = re.sub(rb"(?m)^\.", b"..", text)
        try:
            begun = self._read(*self._smtp.docmd("DATA"))
            if begun.code != 354:
                if begun.code >= 400:
                    return begun
                raise ProviderUnavailable(f"The mail server did not ask for the text: {begun}", provider=self._name)
            self._smtp.send(body if body.endswith(b"\r\n") else body + b"\r\n")
        except OSError as error:
            raise self._broken(error) from error
        try:
            self.wait(seconds)
            self._smtp.send(b".\r\n")
            answer = self._read(*self._smtp.getreply())
        except OSError as error:
            raise OutcomeUnknown(
                f"The message was sent, but the mail server did not answer ({type(error).__name__}).", provider=self._name
            ) from error
        if not (answer.ok or 400 <= answer.code < 600):
            nonsense = f"The message was sent; the mail server's answer makes no sense: {answer}"
            raise OutcomeUnknown(nonsense, provider=self._name)
        return answer

    def noop(self) -> MailReply:
        try:
            return self._read(*self._smtp.noop())
        except OSError as error:
            raise self._broken(error) from error

    def reset(self) -> None:
        """Drop the message begun, so that another can be."""
        try:
            answer = self._read(*self._smtp.docmd("RSET"))
        except OSError as error:
            raise self._broken(error) from error
        if not answer.ok:
            raise ProviderUnavailable(f"The mail server takes no further message: {answer}", provider=self._name)

    def goodbye(self) -> None:
        """End the conversation. Its outcome is known already: the server's last word is neither needed nor waited for long."""
        with suppress(OSError):
            if self._smtp.sock is not None:
                self.wait(GOODBYE_SECONDS)
                self._smtp.quit()
        self.hang_up()

    def hang_up(self) -> None:
        """Close without a word."""
        with suppress(OSError):
            self._smtp.close()

    def _options(self, size: int) -> list[str]:
        """Return what MAIL says of the message, as far as the server wants to know (RFC 1870, RFC 6152)."""
        options = [f"SIZE={size}"] if self._smtp.has_extn("size") else []
        return [*options, "BODY=8BITMIME"] if self._smtp.has_extn("8bitmime") else options

    def _read(self, code: int, words: bytes | str) -> MailReply:
        if code == CLOSING:
            self.hang_up()
        return read_reply(code, words)

    def _broken(self, error: OSError) -> ProviderUnavailable:
        self.hang_up()
        return ProviderUnavailable(f"The mail server broke off ({type(error).__name__}).", provider=self._name)
