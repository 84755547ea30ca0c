"""The composition root: the only place that constructs adapters. A new provider, judge or policy is one file of its
own and one line in here."""
