"""The simulator's mail server: real SMTP on a port of its own (aiosmtpd), in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

HOSTNAME = "sim.example.org"
SIZE_LIMIT = 10 * 1024 * 1024
IDLE_SECONDS = 60
T = TypeVar("T")


class Answer(Exception):
    """Raised to answer `reply`; with `hang_up` the connection ends after it, or (`reply` empty) without it."""

    def __init__(self, reply: str, *, hang_up: bool = False) -> None:
        super().__init__(reply)
        self.reply = reply
        self.hang_up = hang_up


@dataclass(frozen=True, slots=True)
class Delivery:
    """What becomes of a mail that was stored: `before` runs, then `seconds` pass, then `answer` goes out (or with `drop` the
    connection ends instead)."""

    answer: str
    before: Callable[[], None] | None = None
    seconds: float = 0.0
    drop: bool = False


class Post(Protocol):
    """What decides about mail. Called in threads; must be quick. All but `login` may raise `Answer`."""

    def login(self, username: str, password: str) -> str:
        """Return the label of the account; '' where name and password do not belong together."""
        ...

    def start_mail(self, account: str, sender: str) -> None: ...

    def take(self, account: str, sender: str, recipient: str) -> None: ...

    def deliver(self, account: str, sender: str, recipients: Sequence[str], content: bytes) -> Delivery: ...


class _Handler:
    """aiosmtpd's hooks. The names are its own."""

    def __init__(self, post: Post) -> None:
        self._post = post

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        if isinstance(data, LoginPassword):
            account = self._post.login(data.login.decode("utf-8", "replace"), data.password.decode("utf-8", "replace"))
            if account:
                return AuthResult(success=True, auth_data=account)
        return AuthResult(success=False, handled=False, message="535 5.7.8 Authentication credentials invalid")

    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-ENHANCEDSTATUSCODES", "250-DSN", responses[-1]]

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if not session.auth_data:
            return "530 5.7.0 Authentication required"
        envelope.mail_from, envelope.mail_options = address, options
        return await self._answer(server, lambda: self._post.start_mail(session.auth_data, address), "250 2.1.0 Ok")

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        account, sender = session.auth_data, envelope.mail_from or ""
        answer = await self._answer(server, lambda: self._post.take(account, sender, address), "250 2.1.5 Ok")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        account, sender, recipients = session.auth_data, envelope.mail_from or "", list(envelope.rcpt_tos)
        try:
            delivery = await _in_thread(lambda: self._post.deliver(account, sender, recipients, bytes(envelope.content)))
        except Answer as answer:
            return answer.reply
        if delivery.before:
            await _in_thread(delivery.before)
        if delivery.seconds:
            await asyncio.sleep(delivery.seconds)
        if delivery.drop:
            server.transport.abort()
        return delivery.answer

    async def _answer(self, server: Any, decide: Callable[[], None], usual: str) -> str:
        try:
            await _in_thread(decide)
        except Answer as answer:
            if answer.hang_up and not answer.reply:
                server.transport.abort()
            elif answer.hang_up:
                # Once the answer is written; aiosmtpd has no hook for that moment.
                asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(server.transport.close))
            return answer.reply or "421 4.3.2 gone"
        return usual


async def _in_thread(work: Callable[[], T]) -> T:
    """Run what may have to wait for the store; other connections go on meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


class MailServer:
    """Listens from `start` to `stop`; `port` is then known."""

    def __init__(self, post: Post, host: str) -> None:
        self._handler = _Handler(post)
        self._host = host
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = 0

    def start(self, preferred_port: int = 0) -> None:
        """Listen on the preferred port, or on any free one where that is taken. OSError if there is none.

        The loop lives in a thread of its own from the first moment: the caller's may have a loop already.
        """
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="simulator-mail", daemon=True)
        self._thread.start()
        try:
            self._server = asyncio.run_coroutine_threadsafe(self._listen(preferred_port), loop).result()
        except BaseException:
            self._end(loop)
            raise
        self._loop = loop
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Hang up on everybody; fine where it does not run."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._hang_up(), loop).result()
        self._end(loop)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    async def _listen(self, preferred_port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(self._connection, self._host, preferred_port)
        except OSError:
            return await loop.create_server(self._connection, self._host, 0)

    async def _hang_up(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()

    def _connection(self) -> SMTP:
        return SMTP(
            self._handler,
            hostname=HOSTNAME,
            ident="ESMTP simulator",
            authenticator=self._handler.authenticate,
            auth_require_tls=False,
            data_size_limit=SIZE_LIMIT,
            timeout=IDLE_SECONDS,
            loop=self._loop or asyncio.get_running_loop(),
        )
