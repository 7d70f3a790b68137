"""Budgets and alerts: what was spent and will be, who must hear of it, and the outbox that tells them once."""
