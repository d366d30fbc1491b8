"""What all admin pages share: who sees which tenant's rows, buttons that act, and how values are drawn."""
