"""Refusals in Google's words. Texts as documented or shown by others (fixtures/SOURCES.md)."""

from __future__ import annotations

from collections.abc import Sequence

from integrations.simulators import Refusal, SimReply
from integrations.simulators.wire import Json

TYPES = "type.googleapis.com/"
NOT_SIGNED_IN = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


def error(status: int, code: str, message: str, details: Sequence[Json] = (), retry_after: int | None = None) -> SimReply:
    """Return Google's error object: `code` is the general one (`NOT_FOUND`), `details` typed objects."""
    body: Json = {"code": status, "message": message, "status": code}
    if details:
        body["details"] = list(details)
    reply = SimReply.of_json({"error": body}, status, "application/json; charset=UTF-8")
    if retry_after is not None:
        reply.headers["Retry-After"] = str(retry_after)
    return reply


def fcm_detail(code: str) -> Json:
    return {"@type": f"{TYPES}google.firebase.fcm.v1.FcmError", "errorCode": code}


def field_detail(field: str, description: str) -> Json:
    violation = {"field": field, "description": description}
    return {"@type": f"{TYPES}google.rpc.BadRequest", "fieldViolations": [violation]}


def reason_detail(reason: str, domain: str = "googleapis.com") -> Json:
    return {"@type": f"{TYPES}google.rpc.ErrorInfo", "reason": reason, "domain": domain}


def bad_field(field: str, description: str) -> Refusal:
    """A member that can't be read: Google's front end refuses, FCM has not seen it."""
    return Refusal(error(400, "INVALID_ARGUMENT", description, [field_detail(field, description)]))


def bad_value(field: str, description: str) -> Refusal:
    """A member that FCM itself refuses: both details."""
    details = [field_detail(field, description), fcm_detail("INVALID_ARGUMENT")]
    return Refusal(error(400, "INVALID_ARGUMENT", description, details))


def too_big() -> Refusal:
    return Refusal(error(400, "INVALID_ARGUMENT", "Request contains an invalid argument."))


def not_signed_in() -> SimReply:
    return error(401, "UNAUTHENTICATED", NOT_SIGNED_IN, [reason_detail("ACCESS_TOKEN_EXPIRED")])


def unregistered() -> SimReply:
    return error(404, "NOT_FOUND", "Requested entity was not found.", [fcm_detail("UNREGISTERED")])


def bad_token() -> SimReply:
    text = "The registration token is not a valid FCM registration token"
    return error(400, "INVALID_ARGUMENT", text, [fcm_detail("INVALID_ARGUMENT")])


def mismatch() -> SimReply:
    return error(403, "PERMISSION_DENIED", "SenderId mismatch", [fcm_detail("SENDER_ID_MISMATCH")])


def quota(retry_after: int | None = None) -> SimReply:
    text = "Message rate exceeded quota."
    return error(429, "RESOURCE_EXHAUSTED", text, [fcm_detail("QUOTA_EXCEEDED")], retry_after)


def unavailable() -> SimReply:
    return error(503, "UNAVAILABLE", "The service is currently unavailable.", [fcm_detail("UNAVAILABLE")])


def internal() -> SimReply:
    return error(500, "INTERNAL", "Internal error encountered.", [fcm_detail("INTERNAL")])


def third_party() -> SimReply:
    text = "Auth error from APNS or Web Push Service"
    return error(401, "UNAUTHENTICATED", text, [fcm_detail("THIRD_PARTY_AUTH_ERROR")])


def unknown_project() -> SimReply:
    return error(404, "NOT_FOUND", "Requested entity was not found.")


def foreign_project(project: str) -> SimReply:
    text = (
        "Permission 'cloudmessaging.messages.create' denied on resource "
        f"'//cloudresourcemanager.googleapis.com/projects/{project}' (or it may not exist)."
    )
    return error(
        403, "PERMISSION_DENIED", text, [reason_detail("IAM_PERMISSION_DENIED", "cloudresourcemanager.googleapis.com")]
    )
