"""E-mail through any mail server that speaks SMTP: a hosting provider's, Google Workspace's, Microsoft 365's, one's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import Choice, ConfigSchema, Secret, Text

DOMAIN = r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}"
PORTS = {"starttls": 587, "tls": 465, "none": 25}
DEFAULT_SECURITY = "starttls"


def split_server(server: str) -> tuple[str, int | None]:
    """Return host and port (None where none is named) of `mail.example.org`, `mail.example.org:2525` or `[2001:db8::1]:25`.

    Raises ValueError with a text for the person who typed it.
    """
    found = re.fullmatch(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:/@\[\]]+))(?::(?P<port>\d{1,5}))?", server)
    if found is None:
        raise ValueError("must be a host name, with a port if it is not the usual one: mail.example.org:587")
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65_536:
        raise ValueError("the port is a number between 1 and 65535")
    return found["six"] or found["name"], port


def _server(value: str) -> str:
    split_server(value)
    return value.lower()


def _mailbox(value: str) -> str:
    local, _, domain = value.rpartition("@")
    if not re.fullmatch(r"[!-?A-~]{1,64}", local) or not re.fullmatch(DOMAIN, domain.lower()):
        raise ValueError("must be an e-mail address")
    return f"{local}@{domain.lower()}"


def _check(values: Mapping[str, Any]) -> dict[str, str]:
    """Return {field: problem} of fields that need each other."""
    problems = {}
    if bool(values.get("username")) != bool(values.get("password")):
        problems["password" if values.get("username") else "username"] = "user name and password belong together"
    if bool(values.get("bounce_domain")) != bool(values.get("bounce_secret")):
        missing = "bounce_secret" if values.get("bounce_domain") else "bounce_domain"
        problems[missing] = "bounce domain and bounce secret belong together"
    return problems


def check_environment(values: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    """Return {field: problem}: outside of the simulator no password goes over the wire in the clear."""
    if environment is not Environment.SIMULATOR and values.get("security") == "none" and values.get("password"):
        return {"security": "would send the password in the clear: choose STARTTLS or TLS"}
    return {}


PROVIDER = Provider(
    slug="smtp",
    name="SMTP",
    description="E-mail through any mail server, with bounces where it has a domain for them.",
    docs_url="https://www.rfc-editor.org/rfc/rfc5321",
    package="integrations.providers.smtp",
    config=ConfigSchema(
        Text(
            name="base_url",
            label="Mail server",
            help="Host name, with the port if it is not the usual one: smtp.example.org or smtp.example.org:2525.",
            max_length=260,
            validate=_server,
        ),
        Choice(
            name="security",
            label="Security",
            help="The certificate is always checked. Without a port: 587 for STARTTLS, 465 for TLS, 25 for none.",
            choices=(("starttls", "STARTTLS"), ("tls", "TLS from the start"), ("none", "None (not over the internet)")),
            default=DEFAULT_SECURITY,
        ),
        Text(
            name="username", label="User name", help="Empty: no login.", required=False, pattern=r"[\x20-\x7e]+", max_length=250
        ),
        Secret(
            name="password",
            label="Password",
            help="Where two-step sign-in is on: an app password.",
            required=False,
            pattern=r"[\x20-\x7e]+",
            max_length=250,
        ),
        Text(
            name="sender_address",
            label="Sender address",
            help="Used where a message names no sender. Its domain should allow this server (SPF, DKIM, DMARC).",
            required=False,
            validate=_mailbox,
        ),
        Text(
            name="bounce_domain",
            label="Bounce domain",
            help="Mail to b+...@ this domain must reach the hub: see the set-up notes. Empty: bounces are not seen.",
            required=False,
            validate=str.lower,
            pattern=rf"(?i:{DOMAIN})",
        ),
        Secret(
            name="bounce_secret",
            label="Bounce secret",
            help="Any 16 or more characters. Signs return addresses, so that nobody can forge a bounce.",
            required=False,
            pattern=r"[\x21-\x7e]{16,200}",
        ),
        check=_check,
    ),
    adapters={Capability.EMAIL: "adapter:SmtpEmail"},
    webhook="webhook:SmtpWebhook",
    simulator="simulator:SmtpSimulator",
    # There is no address that all share: the config's own server is dialled. A config that has a `base_url` breaks by itself.
    base_urls={Environment.PRODUCTION: "https://smtp.invalid", Environment.SANDBOX: "https://smtp.invalid"},
    rate_limit=RateLimit(rate=5, burst=20),
    timeout=(10.0, 40.0),
    check_environment=check_environment,
    requirements=(
        "A mail server that may be sent through, with its host name, port, user name and password.",
        "A sender address whose domain allows that server to send (SPF and DKIM).",
        "For bounces: a domain, or a part of one, whose mail can be piped into the hub.",
    ),
)
