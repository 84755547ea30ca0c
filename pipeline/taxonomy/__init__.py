"""Where a query stands in the tree of categories: rules, then similarity, then (for the uncertain) a model."""
