"""Why somebody was turned away, and why a message was skipped or is in doubt: the words the ledger keeps."""

from enum import StrEnum


class Reason(StrEnum):
    """Stored with enrollments and messages as its value. Refusals of providers are `channel.RejectReason`."""

    # An enrollment that did not come about.
    ENROLLED_BEFORE = "enrolled_before"
    IN_PROGRESS = "in_progress"
    TOO_SOON = "too_soon"
    GLOBAL_HOLDOUT = "global_holdout"

    # Neither an enrollment nor, when it comes later, a message.
    UNREACHABLE = "unreachable"
    NO_CONSENT = "no_consent"
    SUPPRESSED = "suppressed"
    NOTHING_TO_CONFIRM = "nothing_to_confirm"
    OPEN_COMPLAINT = "open_complaint"
    TOPIC_REFUSED = "topic_refused"
    PAUSED = "paused"

    # A message that is skipped.
    CONVERTED = "converted"
    UNSUBSCRIBED = "unsubscribed"
    CONDITION = "condition"
    CAPPED = "capped"
    STEP_REMOVED = "step_removed"
    ERASED = "erased"
    RENDER_FAILED = "render_failed"

    # A message in doubt; one that is sent again by policy or by hand; one that a person said was taken.
    SENDER_LOST = "sender_lost"
    NO_ANSWER = "no_answer"
    CHANNEL_FAILED = "channel_failed"
    RESENT = "resent"
    SETTLED_BY_HAND = "settled_by_hand"
