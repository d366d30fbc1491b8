"""WhatsApp by Twilio: the same Messages resource, `whatsapp:` before the addresses, content templates (HX...) by ContentSid."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Registration, TestResult, TokenPort
from integrations.contracts.errors import InvalidRequest, UnsupportedOperation
from integrations.contracts.messaging import Balance, Media, RecipientResult, SendQuery
from integrations.contracts.whatsapp import TemplateUse, WhatsAppAdapter, WhatsAppMessage
from integrations.providers.twilio.adapter import BY_HAND, E164, check_text, sender_field
from integrations.providers.twilio.calls import TwilioAccount, status_callback
from integrations.providers.twilio.searching import find

PREFIX = "whatsapp:"
CONTENT_SID = re.compile(r"HX[0-9a-fA-F]{32}")


class TwilioWhatsApp(WhatsAppAdapter):
    """Text and media inside the customer's 24 hours, content templates at any time.

    Outside of them Twilio takes a free text and then reports it failed with 63016 (or refuses it so at once). Templates can't
    be listed by this API, nothing can be marked as read, and a message can't quote another: `reply_to` is not sent.
    """

    def __init__(self, *, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        super().__init__(config=config, http=http, tokens=tokens, clock=clock)
        self.account = TwilioAccount(config, http)

    def send(self, message: WhatsAppMessage) -> RecipientResult:
        """Send once.

        Raises `InvalidRequest` (attr `to`, `message`, `from`, `template`, `media`, `callback_url`), `AuthenticationFailed`,
        `RateLimited`, `ProviderUnavailable`, and `OutcomeUnknown`/`BadReply` where it may have been sent.
        """
        target, provider = message.target, self.config.provider
        if not E164.fullmatch(target.address):
            raise InvalidRequest("Not an E.164 number.", provider=provider, attr="to")
        form = [("To", PREFIX + target.address), self._sender(message.sender), *self._content(message)]
        if message.callback_url:
            form.append(("StatusCallback", status_callback(message.callback_url, target.ref)))
        return self.account.create(form, target.address)

    def find(self, query: SendQuery) -> RecipientResult | None:
        """Ask by the message's id, else search for its text (a template's: as rendered); see `searching.find`."""
        return find(self.account, query, PREFIX + query.target.address, self.clock())

    def fetch_media(self, media_id: str) -> Media:
        """Return a file that a customer sent; `media_id` is the address that the incoming message named."""
        return self.account.media(media_id)

    def balance(self) -> Balance:
        return self.account.balance()

    def test_connection(self) -> TestResult:
        return self.account.test()

    def register_webhooks(self, urls: Mapping[str, str]) -> Registration:
        raise UnsupportedOperation(BY_HAND, provider=self.config.provider)

    def _sender(self, given: str) -> tuple[str, str]:
        chosen = given or str(self.config.get("whatsapp_sender") or self.config.get("messaging_service_sid") or "")
        if not chosen:
            raise InvalidRequest("There is no sender for WhatsApp in this config.", provider=self.config.provider, attr="from")
        name, value = sender_field(chosen)
        return name, value if name != "From" or value.startswith(PREFIX) else PREFIX + value

    def _content(self, message: WhatsAppMessage) -> list[tuple[str, str]]:
        provider = self.config.provider
        if message.template is not None:
            if message.text or message.media is not None:
                raise InvalidRequest("A template goes alone.", provider=provider, attr="template")
            return self._template(message.template)
        form = [("Body", message.text)] if message.text else []
        check_text(message.text, provider)
        if message.media is not None:
            if not message.media.url:
                raise InvalidRequest("Twilio fetches files itself: give a public address.", provider=provider, attr="media")
            form.append(("MediaUrl", message.media.url))
        if not message.text.strip() and message.media is None:
            raise InvalidRequest("The message is empty.", provider=provider, attr="message")
        return form

    def _template(self, template: TemplateUse) -> list[tuple[str, str]]:
        if not CONTENT_SID.fullmatch(template.id):
            text = "Twilio's templates go by their content SID (HX...): give it as the template's id."
            raise InvalidRequest(text, provider=self.config.provider, attr="template")
        if template.header or template.header_media is not None or template.buttons:
            # One numbering for header, body and buttons together: which number is whose, only the template's author knows.
            text = "Twilio numbers a template's variables throughout: put those of header and buttons into the body, in order."
            raise InvalidRequest(text, provider=self.config.provider, attr="template")
        form = [("ContentSid", template.id)]
        if template.body:
            variables = {str(number): value for number, value in enumerate(template.body, 1)}
            form.append(("ContentVariables", json.dumps(variables, ensure_ascii=False)))
        return form
