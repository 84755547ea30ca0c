"""The walk up the ladder: ask a tier through the ledger, judge its answer, accept it or escalate."""
