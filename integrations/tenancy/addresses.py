"""Addresses that webhooks come to. Whoever knows one can send there, and for some providers that is all the proof there is: so
it is a credential, and only those who may change it see it whole."""

from __future__ import annotations

from integrations.http.masking import MASK, OWN_PATH
from integrations.models import Role
from integrations.tenancy.authentication import Principal
from integrations.tenancy.scopes import WRITE, permits


def may_see(principal: object, resource: str) -> bool:
    """Tell whether who asks may know the addresses of a resource (`key_scope`): an admin, with a key one that may write it."""
    return isinstance(principal, Principal) and principal.role == Role.ADMIN and permits(principal.scopes, resource, WRITE)


def shown(url: str, *, whole: bool) -> str:
    """Return the address, with its token masked for those who may not see it whole."""
    return url if whole else OWN_PATH.sub(rf"\1{MASK}", url)
