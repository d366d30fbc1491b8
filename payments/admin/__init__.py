"""The console's pages of payments: the payments themselves, disputes, and a tenant's rules."""

from payments.admin.disputes import DisputeAdmin
from payments.admin.payment import PaymentAdmin
from payments.admin.rules import AllocationRuleAdmin, RoutingRuleAdmin

__all__ = ["AllocationRuleAdmin", "DisputeAdmin", "PaymentAdmin", "RoutingRuleAdmin"]
