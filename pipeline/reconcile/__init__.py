"""The ledger beside what a provider says it billed: by model, day and token class, every difference explained."""
