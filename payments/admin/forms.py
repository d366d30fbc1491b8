"""What the buttons of a payment ask for first. Amounts are minor units, as everywhere in the hub."""

from __future__ import annotations

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from payments.models import ReceiptChannel

MINOR = "In minor units: 150000 is 1,500.00 of a currency with two decimals."


class CaptureForm(forms.Form):
    """How much of what is held to take."""

    amount = forms.IntegerField(
        min_value=1,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=f"{MINOR} Empty: all that is held.",
    )
    final = forms.BooleanField(
        required=False,
        label="Release the rest",
        widget=UnfoldBooleanWidget(),
        help_text="Otherwise the rest stays held where the gateway captures several times; where it does not, it is released.",
    )


class RefundForm(forms.Form):
    """How much to give back, and why."""

    amount = forms.IntegerField(
        min_value=1,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=f"{MINOR} Empty: all that is left.",
    )
    reason = forms.CharField(
        max_length=200, required=False, widget=UnfoldAdminTextInputWidget(), help_text="The gateway and the ledger keep it."
    )


class AllocateForm(forms.Form):
    """What money is for that came in by itself."""

    reference_type = forms.CharField(
        max_length=40, label="Kind", initial="invoice", widget=UnfoldAdminTextInputWidget(), help_text="For example invoice."
    )
    reference_id = forms.CharField(
        max_length=100, label="Number", widget=UnfoldAdminTextInputWidget(), help_text="For example INV-0042."
    )


class SendReceiptForm(forms.Form):
    """How to send a receipt again, and where to. To press the button below it is to confirm it."""

    channel = forms.ChoiceField(
        choices=ReceiptChannel.choices, label="By", initial=ReceiptChannel.EMAIL, widget=UnfoldAdminRadioSelectWidget()
    )
    to = forms.CharField(
        max_length=254,
        required=False,
        label="To",
        widget=UnfoldAdminTextInputWidget(),
        help_text="E-mail address or phone number. Empty: the payer's own, where the payment names it.",
    )


class DecideForm(forms.Form):
    """What a person found in the provider's own statement."""

    paid = forms.ChoiceField(
        choices=[("yes", "The money arrived"), ("no", "No money arrived")],
        label="What the provider's statement says",
        widget=UnfoldAdminRadioSelectWidget(),
    )
    receipt = forms.CharField(
        max_length=60, required=False, label="Provider's receipt number", widget=UnfoldAdminTextInputWidget()
    )
    note = forms.CharField(
        max_length=250,
        label="On what grounds",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It goes into the payment's ledger with your name.",
    )


class DecideOperationForm(forms.Form):
    """What a person found about the oldest capture or refund that nobody could decide."""

    happened = forms.ChoiceField(
        choices=[("yes", "It was done, with the amount that was asked for"), ("no", "It was not done")],
        label="What the provider's statement says",
        widget=UnfoldAdminRadioSelectWidget(),
        help_text="About the oldest operation below that needs review. What was not done may be asked for again.",
    )
    note = forms.CharField(
        max_length=250,
        label="On what grounds",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It goes into the payment's ledger with your name.",
    )
