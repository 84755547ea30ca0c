"""The in-memory twin of the ledger."""

from pipeline.ledger.memory.ledger import MemoryLedger

__all__ = ["MemoryLedger"]
