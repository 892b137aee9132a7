"""What the numbers mean: rates with intervals, effects, retention, revenue, engagement, answers to surveys,
referral.

Pure: functions and frozen dataclasses over counts and sums, which `holdfast.store.aggregates` takes from the
database. A rate is a fraction and knows its denominator; what has none is None, never 0. Definitions with
their sources: docs/metrics.md.
"""

VERSION = "1"
"""Of the definitions: it changes when a number of the same data would."""
