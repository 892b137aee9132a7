"""What is wrong with a certificate, in words."""

from __future__ import annotations

import ssl

# OpenSSL's verify codes; anything else is an authority that nobody here knows.
_FAULTS = {
    9: "is not valid yet",
    10: "has expired",
    62: "is for another host",
    64: "is for another host",
}


def certificate_fault(error: BaseException | None) -> str | None:
    """What is wrong with the certificate behind the error: "has expired"; None where none is behind it."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return _FAULTS.get(error.verify_code, "is signed by nobody who is trusted here")
        error = error.__cause__ or error.__context__
    return None
