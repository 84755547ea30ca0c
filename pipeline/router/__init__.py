"""From what was learned to a plan for each query: what tiers are expected to get and cost, and what that is worth."""
