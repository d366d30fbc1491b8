"""ConfigSchema: what a config of a provider holds. Validation, API, admin form, docs and masking all come from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class SchemaErrors(ValueError):
    """`errors` maps a field name to what is wrong with it."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value of a config. `validate` may raise ValueError with a text for the person who typed it.

    `assigned`: the provider gives it when webhooks are registered there; replacing a config without it keeps it.
    """

    name: str
    label: str = ""
    help: str = ""
    required: bool = True
    default: Any = None
    validate: Callable[[Any], Any] | None = None
    assigned: bool = False

    secret = False
    json_type = "string"

    def clean(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("must be text")
        return value.strip()

    def describe(self) -> dict[str, Any]:
        """Return the field as the API's `config_schema` shows it."""
        return {
            "name": self.name,
            "label": self.label or self.name.replace("_", " ").capitalize(),
            "help": self.help,
            "type": self.json_type,
            "required": self.required,
            "secret": self.secret,
            "default": self.default,
            "assigned": self.assigned,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Field):
    """A line (or with `multiline` a block) of text; `pattern` must match all of it."""

    pattern: str = ""
    multiline: bool = False
    max_length: int = 4000

    def clean(self, value: Any) -> str:
        text: str = Field.clean(self, value)
        if len(text) > self.max_length:
            raise ValueError(f"must be at most {self.max_length} characters")
        if self.pattern and text and not re.fullmatch(self.pattern, text):
            raise ValueError("does not have the expected form")
        return text

    def describe(self) -> dict[str, Any]:
        return {**Field.describe(self), "pattern": self.pattern, "multiline": self.multiline}


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret(Text):
    """Text that is sealed at rest, write-only in API and admin, and masked wherever it might appear."""

    secret = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Field):
    """One of `choices` (value, label)."""

    choices: tuple[tuple[str, str], ...] = ()

    def clean(self, value: Any) -> str:
        text: str = Field.clean(self, value)
        if text not in dict(self.choices):
            raise ValueError("must be one of: " + ", ".join(dict(self.choices)))
        return text

    def describe(self) -> dict[str, Any]:
        return {**Field.describe(self), "choices": [{"value": v, "label": label} for v, label in self.choices]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer(Field):
    """A whole number between `minimum` and `maximum`, both inclusive."""

    minimum: int | None = None
    maximum: int | None = None
    json_type = "integer"

    def clean(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError("must be a whole number")
        try:
            number = int(value)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if self.minimum is not None and number < self.minimum:
            raise ValueError(f"must be at least {self.minimum}")
        if self.maximum is not None and number > self.maximum:
            raise ValueError(f"must be at most {self.maximum}")
        return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Field):
    """Yes or no."""

    json_type = "boolean"

    def clean(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value


class ConfigSchema:
    """The ordered fields of a provider's config, plus an optional check over all of them.

    `check(values)` receives plain and secret values together and returns {field: problem}.
    """

    def __init__(self, *fields: Field, check: Callable[[Mapping[str, Any]], dict[str, str]] | None = None) -> None:
        self.fields = fields
        self._check = check
        names = [field.name for field in fields]
        if len(names) != len(set(names)):
            raise ValueError("a field name is declared twice")

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset(field.name for field in self.fields if field.secret)

    def describe(self) -> list[dict[str, Any]]:
        return [field.describe() for field in self.fields]

    def clean(
        self, given: Mapping[str, Any], *, kept_secrets: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return (plain values, secrets); raise `SchemaErrors` naming every bad, missing or unknown field.

        `kept_secrets` are those stored already: a secret that is not given, or given empty, keeps its stored value.
        """
        kept = dict(kept_secrets or {})
        errors = {name: "is not a field of this provider" for name in given if name not in {f.name for f in self.fields}}
        plain: dict[str, Any] = {}
        secrets: dict[str, Any] = {}
        for field in self.fields:
            value = given.get(field.name)
            if value in (None, ""):
                value = kept.get(field.name) if field.secret else None
                if value in (None, ""):
                    value = field.default
            if value in (None, ""):
                if field.required:
                    errors[field.name] = "is required"
                continue
            try:
                cleaned = field.clean(value)
                if field.validate is not None:
                    cleaned = field.validate(cleaned)
            except ValueError as error:
                errors[field.name] = str(error)
                continue
            (secrets if field.secret else plain)[field.name] = cleaned
        if not errors and self._check is not None:
            errors = self._check({**plain, **secrets})
        if errors:
            raise SchemaErrors(errors)
        return plain, secrets
