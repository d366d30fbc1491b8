"""The console's pages of payments: the payments themselves, disputes, stored payers, reconciliations, and a tenant's rules."""

from payments.admin.disputes import DisputeAdmin
from payments.admin.payment import PaymentAdmin
from payments.admin.reconciliation import ReconciliationLineAdmin, ReconciliationRunAdmin
from payments.admin.rules import AllocationRuleAdmin, RoutingRuleAdmin
from payments.admin.stored import PayerMethodAdmin, SetupIntentAdmin

__all__ = [
    "AllocationRuleAdmin",
    "DisputeAdmin",
    "PayerMethodAdmin",
    "PaymentAdmin",
    "ReconciliationLineAdmin",
    "ReconciliationRunAdmin",
    "RoutingRuleAdmin",
    "SetupIntentAdmin",
]
