"""WhatsApp Business Cloud API. Facts from the provider sheet (November 2026); what is unconfirmed there is marked in README."""

from __future__ import annotations

import re
from collections.abc import Mapping
from mimetypes import guess_extension
from urllib.parse import urlsplit

from urllib3.filepost import encode_multipart_formdata

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, TestResult, TokenPort
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    NotFound,
    ProviderUnavailable,
    UnsupportedOperation,
)
from integrations.contracts.messaging import Media, MessageState, RecipientResult
from integrations.contracts.whatsapp import TemplateInfo, WhatsAppAdapter, WhatsAppMessage
from integrations.contracts.wire import Wire, WireError
from integrations.providers.whatsapp.bodies import body_of, check
from integrations.providers.whatsapp.codes import HELD, TEMPLATE_STATES, Fate
from integrations.providers.whatsapp.graph import Graph, GraphError
from integrations.providers.whatsapp.webhook import EVENTS

NUMBER_FIELDS = "display_phone_number,verified_name,quality_rating"
FETCH_LIMIT = 4 * 1024 * 1024
"""The hub's client reads no larger answers."""
FILE_TIMEOUT = (5.0, 60.0)
TEMPLATE_PAGE = 100
TEMPLATE_PAGES = 100
# Where Meta keeps files: the token goes along with the request, so it must go to nobody else.
FILE_HOSTS = (".fbsbx.com", ".facebook.com", ".fbcdn.net", ".whatsapp.net")
HEADERS = {"text": "text", "image": "image", "video": "video", "document": "document"}


class WhatsAppCloud(WhatsAppAdapter):
    """One phone number of one business account.

    There is no idempotency key and no lookup of messages: an answer that got lost stays unknown until a status webhook brings
    back our `Target.ref`.
    """

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self._graph = Graph(config, http)

    def send(self, message: WhatsAppMessage) -> RecipientResult:
        """Send once. SENT means that Meta has taken it.

        A file with content is uploaded first: a failure there is no `OutcomeUnknown`, since nothing was sent to anybody.
        Raises `InvalidRequest` (attr `to`, `from`, `message`, `media`, `template`), `AuthenticationFailed`, `RateLimited`,
        `ProviderUnavailable`, `OutcomeUnknown`/`BadReply`.
        """
        number = str(self.config.phone_number_id)
        check(message, number, self.config.provider)
        body = body_of(message, self._uploaded(message, number))
        reply = self._graph.call("POST", f"{number}/messages", operation="send", safe=False, json=body)
        if not reply.ok:
            return self._refused(message, self._graph.error(reply))
        try:
            said = next(iter(reply.json()["messages"].items()))
            ref = said["id"].text(max_length=255)
            status = said.get("message_status")
            held = "" if status is None else status.text(max_length=60)
        except (WireError, StopIteration):
            raise BadReply("The answer to the send request can't be read.", provider=self.config.provider) from None
        if not ref:
            raise BadReply("The answer to the send request names no message.", provider=self.config.provider)
        code = held if held in HELD else ""
        return RecipientResult(
            message.target.address, MessageState.SENT, provider_ref=ref, provider_code=code, detail=HELD.get(held, "")
        )

    def templates(self) -> tuple[TemplateInfo, ...]:
        """See `WhatsAppAdapter.templates`. Templates with named parameters are listed; they can't be filled in by number."""
        found: list[TemplateInfo] = []
        after = ""
        for _ in range(TEMPLATE_PAGES):
            query = {"limit": str(TEMPLATE_PAGE)} | ({"after": after} if after else {})
            page = self._graph.asked("GET", f"{self.config.waba_id}/message_templates", operation="templates", query=query)
            try:
                found += [_template_info(each) for each in page["data"].items()]
                after = self._next_page(page)
            except WireError as error:
                raise ProviderUnavailable(f"The answer can't be read: {error}", provider=self.config.provider) from None
            if not after:
                return tuple(found)
        raise ProviderUnavailable("The list of templates does not end.", provider=self.config.provider)

    def fetch_media(self, media_id: str) -> Media:
        """Return a file that a customer sent; Meta keeps it for 30 days (unconfirmed).

        Raises `NotFound`, `UnsupportedOperation` (larger than 4 MiB), and as `templates` does.
        """
        if not re.fullmatch(r"[0-9]{1,40}", media_id):
            raise NotFound("There is no such file.", provider=self.config.provider)
        try:
            said = self._graph.asked("GET", media_id, operation="media")
        except InvalidRequest as error:
            # Meta says of an object that it doesn't know, and of one of somebody else, that a parameter is wrong.
            raise NotFound(error.message, provider=self.config.provider, provider_code=error.provider_code) from None
        try:
            url, content_type = said["url"].text(), said["mime_type"].text(max_length=200).partition(";")[0].strip().lower()
            size = said["file_size"].integer()
        except WireError as error:
            raise ProviderUnavailable(f"The answer can't be read: {error}", provider=self.config.provider) from None
        if size > FETCH_LIMIT:
            raise UnsupportedOperation("The file is larger than 4 MiB.", provider=self.config.provider)
        self._check_file_host(url)
        reply = self._graph.call("GET", url, operation="media", safe=True, timeout=FILE_TIMEOUT)
        if reply.status in {404, 410}:
            # Such an address lives for minutes only (unconfirmed: five); a fresh one may do.
            raise ProviderUnavailable("The file's address does not work any more.", provider=self.config.provider)
        if not reply.ok:
            self._graph.refuse(self._graph.error(reply), attr="media", sending=False)
        return Media(f"{media_id}{guess_extension(content_type) or ''}", content_type, content=reply.body)

    def mark_read(self, provider_ref: str) -> None:
        """See `WhatsAppAdapter.mark_read`. Done twice it changes nothing, so it may be repeated after any failure."""
        body = {"messaging_product": "whatsapp", "status": "read", "message_id": provider_ref}
        number = str(self.config.phone_number_id)
        self._graph.asked("POST", f"{number}/messages", operation="mark_read", attr="message_id", json=body)

    def test_connection(self) -> TestResult:
        """Ask for the phone number: it needs a valid token that may use it, and changes nothing."""
        said = self._number(NUMBER_FIELDS)
        texts = {name: _text(said, name) for name in NUMBER_FIELDS.split(",")}
        who = texts["verified_name"] or "a number without a name"
        quality = texts["quality_rating"].lower() or "unknown"
        shown = self._graph.shown(f"Signed in as {who} ({texts['display_phone_number']}). Quality: {quality}.")
        return TestResult(ok=True, status="ok", detail=shown)

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        """Have Meta report this phone number's messages to `urls["events"]`.

        Meta calls that URL at once and must get its challenge back. Subscribes the app to the business account where it is not
        yet; other numbers of the account keep their URL. Raises as `templates` does. (An override for each number is from
        Meta's guide, not from the provider sheet: unconfirmed.)
        """
        url = urls.get(EVENTS)
        if not url:
            raise InvalidRequest("There is no URL to register.", provider=self.config.provider, attr=EVENTS)
        apps = f"{self.config.waba_id}/subscribed_apps"
        subscribed = self._graph.asked("GET", apps, operation="webhooks").get("data")
        configured = self._number("webhook_configuration").get("webhook_configuration")
        current = "" if configured is None else _text(configured, "phone_number")
        if subscribed is not None and subscribed.raw and current == url:
            return Registration("Meta calls this URL already.")
        if subscribed is None or not subscribed.raw:
            self._graph.asked("POST", apps, operation="webhooks")
        if current != url:
            wanted = {"override_callback_uri": url, "verify_token": str(self.config.verify_token)}
            number = str(self.config.phone_number_id)
            self._graph.asked("POST", number, operation="webhooks", attr=EVENTS, json={"webhook_configuration": wanted})
        return Registration("Meta now reports this number's messages to this URL.")

    # --- inside

    def _uploaded(self, message: WhatsAppMessage, number: str) -> str:
        """Upload the message's file where its content is here; return its id, '' where there is nothing to upload."""
        media = message.template.header_media if message.template is not None else message.media
        if media is None or not media.content:
            return ""
        content_type = media.content_type.partition(";")[0].strip().lower()
        file = (media.filename or "file", media.content, content_type)
        body, kind = encode_multipart_formdata([("messaging_product", "whatsapp"), ("type", content_type), ("file", file)])
        said = self._graph.asked(
            "POST", f"{number}/media", operation="media", attr="media", body=body, content_type=kind, timeout=FILE_TIMEOUT
        )
        media_id = _text(said, "id")
        if not media_id:
            raise ProviderUnavailable("The answer to the upload names no file.", provider=self.config.provider)
        return media_id

    def _refused(self, message: WhatsAppMessage, error: GraphError) -> RecipientResult:
        problem = error.problem
        if problem is None or problem.fate not in {Fate.RECIPIENT, Fate.AGAIN}:
            attr = "template" if message.template is not None else "media" if message.media is not None else "message"
            self._graph.refuse(error, attr=attr, sending=True)
        return RecipientResult(
            message.target.address,
            MessageState.FAILED,
            provider_code=error.provider_code,
            detail=problem.detail,
            retryable=problem.fate is Fate.AGAIN,
            retry_after=problem.retry_after,
            suppress=problem.suppress,
        )

    def _number(self, fields: str) -> Wire:
        """Return these fields of the phone number; `AuthenticationFailed` where the token sees no such number."""
        try:
            return self._graph.asked(
                "GET", str(self.config.phone_number_id), operation="phone_number", query={"fields": fields}
            )
        except (InvalidRequest, NotFound) as error:
            text = f"The access token sees no phone number with this ID. {error.message}"
            raise AuthenticationFailed(text, provider=self.config.provider, provider_code=error.provider_code) from None

    def _check_file_host(self, url: str) -> None:
        parts, home = urlsplit(url), urlsplit(self.config.base_url)
        if (parts.scheme, parts.netloc) == (home.scheme, home.netloc):
            return
        host = (parts.hostname or "").lower()
        if parts.scheme != "https" or parts.username is not None or not host.endswith(FILE_HOSTS):
            raise ProviderUnavailable("The file is not kept at an address of Meta.", provider=self.config.provider)

    def _next_page(self, page: Wire) -> str:
        """Return the cursor of the next page. Meta's own `next` address is not called: it may hold the token."""
        paging = page.get("paging")
        if paging is None or paging.get("next") is None:
            return ""
        return paging["cursors"]["after"].text(max_length=1000)


def _text(node: Wire, name: str) -> str:
    """Return a member's text, '' where it is absent or no text."""
    found = node.get(name)
    try:
        return "" if found is None else found.text().strip()
    except WireError:
        return ""


def _template_info(each: Wire) -> TemplateInfo:
    body, header, buttons = "", "", 0
    components = each.get("components")
    for component in components.items() if components is not None else ():
        match _text(component, "type").upper():
            case "BODY":
                body = _text(component, "text")
            case "HEADER":
                header = HEADERS.get(_text(component, "format").lower(), "")
            case "BUTTONS":
                listed = component.get("buttons")
                buttons = len(list(listed.items())) if listed is not None else 0
    return TemplateInfo(
        name=each["name"].text(max_length=512),
        language=each["language"].text(max_length=20),
        status=TEMPLATE_STATES.get(_text(each, "status").lower(), "disabled"),
        category=_text(each, "category").lower(),
        id=_text(each, "id"),
        body=body,
        parameters=len(set(re.findall(r"\{\{\s*(\w+)\s*\}\}", body))),
        header=header,
        buttons=buttons,
    )
