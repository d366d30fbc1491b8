"""Puts the console's look on forms that know nothing of it."""

from __future__ import annotations

from collections.abc import Mapping

from django import forms
from unfold import widgets

# In the order of trying: a password input is a text input too.
_LOOKS: tuple[tuple[type[forms.Widget], type[forms.Widget]], ...] = (
    (forms.PasswordInput, widgets.UnfoldAdminPasswordWidget),
    (forms.Textarea, widgets.UnfoldAdminTextareaWidget),
    (forms.CheckboxInput, widgets.UnfoldBooleanSwitchWidget),
    (forms.Select, widgets.UnfoldAdminSelectWidget),
    (forms.NumberInput, widgets.UnfoldAdminIntegerFieldWidget),
    (forms.TextInput, widgets.UnfoldAdminTextInputWidget),
)


def dress(fields: Mapping[str, forms.Field]) -> None:
    """Replace plain widgets by the console's, keeping attributes and choices; a password input never renders its value."""
    for field in fields.values():
        plain = field.widget
        for kind, look in _LOOKS:
            if not isinstance(plain, kind) or isinstance(plain, look):
                continue
            dressed = look(attrs={**look().attrs, **plain.attrs})
            dressed.is_required = plain.is_required
            dressed.is_localized = plain.is_localized
            if isinstance(field, forms.ChoiceField | forms.ModelChoiceField):
                field.widget = dressed
                field.widget.choices = plain.choices  # type: ignore[attr-defined]
            else:
                field.widget = dressed
            break
