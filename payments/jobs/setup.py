"""Storing a payer at the gateway, the second step after an approval, asking how it stands, and removing it again."""

from __future__ import annotations

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.contracts.failures import Failure
from integrations.contracts.payment import SetupResult, StoredMethod
from integrations.contracts.payment_features import MethodType
from integrations.models import Alert, QueueItem, QueueState
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call, ProviderJob
from integrations.runtime.queue import enqueue
from integrations.secrets import open_sealed
from payments.gateway import setup_request
from payments.jobs.failures import failure_of
from payments.models import PayerMethod, SetupIntent, SetupStatus
from payments.setups import apply_setup, ends_at, is_open, move_setup, schedule_setup_poll, setup_operation

FORGET_ROUNDS = 5


def _call(setup: SetupIntent, operation: str, *, completes: bool = False, begins: bool = False) -> Call:
    return Call(
        Capability.PAYMENT,
        operation,
        (setup_request(setup, setup_operation(setup), completes=completes),),
        config_id=setup.config_id,
        reference=("setup", setup.pk),
        external_reference=setup.provider_ref,
        in_flight=not begins,
    )


def _locked(item: QueueItem) -> SetupIntent:
    return SetupIntent.objects.select_for_update().get(pk=item.payload["setup"])


class SetupJob(ProviderJob):
    """Asks the gateway to store the payer: once, or again with the same key where the gateway knows it by that."""

    kind = "payment.setup"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        setup = SetupIntent.objects.get(pk=item.payload["setup"])
        return _call(setup, "setup", begins=not item.attempts) if is_open(setup) and not setup.provider_ref else None

    def succeeded(self, item: QueueItem, result: SetupResult) -> None:
        schedule_setup_poll(apply_setup(item.payload["setup"], result))

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        setup = _locked(item)
        target = SetupStatus.CANCELLED if error.provider_code == "cancelled" else SetupStatus.FAILED
        if is_open(setup):
            move_setup(setup, target, failure=failure_of(error))

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        setup = _locked(item)
        if not is_open(setup):
            return QueueState.COMPLETED
        move_setup(setup, SetupStatus.UNKNOWN)
        schedule_setup_poll(setup)
        return QueueState.UNKNOWN


class CompleteSetupJob(SetupJob):
    """Stores what the payer has approved."""

    kind = "payment.setup_complete"

    def prepare(self, item: QueueItem) -> Call | None:
        setup = SetupIntent.objects.get(pk=item.payload["setup"])
        return _call(setup, "complete_setup", completes=True) if is_open(setup) else None


class SetupPollJob(ProviderJob):
    """Asks how an open setup stands, by plan until it is decided or has expired, or because something was heard of it."""

    kind = "payment.setup_poll"
    max_attempts = 3

    def prepare(self, item: QueueItem) -> Call | None:
        setup = SetupIntent.objects.get(pk=item.payload["setup"])
        asks = setup.status != SetupStatus.SUCCEEDED if item.payload["notice"] else is_open(setup)
        return _call(setup, "setup_status") if asks else None

    def succeeded(self, item: QueueItem, result: SetupResult) -> None:
        self._again(apply_setup(item.payload["setup"], result))

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        self._again(_locked(item))

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.COMPLETED  # a question has no effect: it is simply asked again

    @staticmethod
    def _again(setup: SetupIntent) -> None:
        if is_open(setup) and clock.now() >= ends_at(setup):
            move_setup(setup, SetupStatus.EXPIRED, failure=Failure.of("payment_expired", "The payer did not act in time."))
        schedule_setup_poll(setup)


class ForgetMethodJob(ProviderJob):
    """Removes a stored card or payer at the gateway. Harmless to repeat: what is gone already is fine."""

    kind = "payment.forget_method"
    max_attempts = 10

    def prepare(self, item: QueueItem) -> Call | None:
        method = PayerMethod.objects.get(pk=item.payload["method"])
        stored = StoredMethod(
            token=str(open_sealed(method.tenant_id, method.sealed_token)),
            customer_ref=method.customer_ref,
            type=MethodType(method.method_type),
            brand=method.brand,
            last4=method.last4,
            expires=method.expires,
            payer=method.payer,
        )
        return Call(
            Capability.PAYMENT,
            "forget",
            (stored,),
            config_id=method.config_id,
            reference=("payer_method", method.pk),
            in_flight=True,
        )

    def succeeded(self, item: QueueItem, result: None) -> None:
        """The row was taken out of use when its removal was asked for; nothing more to write down."""

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        raise_alert(
            tenant_id=item.tenant_id,
            kind="payer_method_not_removed",
            subject=item.payload["method"],
            message=f"Not used here any more, but the gateway still keeps it: {error.message}",
            level=Alert.Level.WARNING.value,
        )

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        if item.payload["round"] >= FORGET_ROUNDS:
            self.failed(item, error)
            return QueueState.NEEDS_REVIEW
        schedule_forget(PayerMethod.objects.get(pk=item.payload["method"]), item.payload["round"] + 1)
        return QueueState.COMPLETED


def schedule_forget(method: PayerMethod, number: int = 1) -> QueueItem:
    """Queue the removal at the gateway, in the caller's transaction; `number` counts the rounds after lost answers from 1."""
    return enqueue(
        tenant_id=method.tenant_id,
        kind="payment.forget_method",
        payload={"method": method.pk, "round": number},
        reference=("payer_method", method.pk),
        key=f"{method.pk}:{number}",
        config_id=method.config_id,
        priority=2,
    )
