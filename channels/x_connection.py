"""X over HTTP: tweepy's client behind an adapter of ours, and what X's answers mean."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import TYPE_CHECKING, Any

import requests
import tweepy
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError, NewConnectionError

from channels.certificates import certificate_fault
from channels.http_connections import LONGEST_ANSWER, retry_after, until, untrusted
from holdfast.channel import DUPLICATE, InDoubt, Outcome, Rejected, RejectReason, Retry
from holdfast.errors import ChannelUnavailable

if TYPE_CHECKING:
    from channels.x_social import XSettings

# tweepy has it as a local variable.
HOST = "https://api.twitter.com"

# These write tokens, signatures and texts into their debug logs.
_TALKATIVE = ("tweepy", "tweepy.client", "requests_oauthlib", "oauthlib", "urllib3")

# Refusals by the codes of X's older answers, and by words of the newer ones, which have no code.
_BY_CODE = {
    150: Rejected(RejectReason.OPTED_OUT, "150"),
    186: Rejected(RejectReason.TOO_LARGE, "186"),
    187: Rejected(RejectReason.CONTENT, DUPLICATE),
    349: Rejected(RejectReason.BLOCKED, "349"),
}
_BY_WORDS = {
    "duplicate content": Rejected(RejectReason.CONTENT, DUPLICATE),
    "too long": Rejected(RejectReason.TOO_LARGE, "403"),
    "permission to dm": Rejected(RejectReason.OPTED_OUT, "403"),
}
_NEEDS_OPERATOR = {
    401: ("X does not take the tokens", "make new ones in X's developer portal, and set them"),
    402: ("X wants to be paid", "look at the account's credits in X's developer portal"),
    403: ("X forbids this to the app", "give it write access, and dm.write for messages, then new tokens"),
}
_READ_AT_ONCE = 65_536  # bytes
_NO_API = ("there is no X API at base_url", "check base_url")


class Connection:
    """One account at X. Shared between threads."""

    def __init__(self, name: str, settings: XSettings) -> None:
        for logger in _TALKATIVE:
            logging.getLogger(logger).setLevel(logging.WARNING)
        self._name = name
        # OAuth 1.0a where there are its four keys, else the user's token of OAuth 2.
        self._signs = settings.user_token is None
        self._client = tweepy.Client(
            _plain(settings.user_token),
            _plain(settings.api_key),
            _plain(settings.api_secret),
            _plain(settings.access_token),
            _plain(settings.access_secret),
            return_type=dict,
        )
        session = self._client.session
        session.mount(HOST, _WayOut(settings))
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._is_closed = False

    def exchange(self, method: str, *args: Any, **params: Any) -> dict[str, Any] | Outcome:
        """Calls a method of tweepy's client once: X's answer, or the outcome of the call where it gave none.

        Raises ChannelUnavailable when an operator has to act; nothing was taken then.
        """
        if self._is_closed:
            raise ChannelUnavailable(f"channel {self._name!r} is closed")
        try:
            answer = getattr(self._client, method)(*args, user_auth=self._signs, **params)
        except _Refused as refused:
            return self._refusal(refused.response)
        except requests.ConnectionError as error:
            if fault := certificate_fault(error):
                raise untrusted(self._name, "X", fault) from None
            return Retry(detail="not connected") if _never_connected(error) else InDoubt(type(error).__name__)
        except requests.RequestException as error:
            return InDoubt(type(error).__name__)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return InDoubt("unreadable answer")  # tweepy expects JSON of a certain shape
        return answer if isinstance(answer, dict) else InDoubt("unreadable answer")

    def read(self, method: str, *args: Any, **params: Any) -> dict[str, Any]:
        """X's answer to a question that changes nothing. Raises ChannelUnavailable where there is none."""
        answer = self.exchange(method, *args, **params)
        if isinstance(answer, dict):
            return answer
        detail = getattr(answer, "detail", "")
        raise self._unavailable(f"X does not answer {method} now ({detail})", "it is asked again later")

    def close(self) -> None:
        """Closes the connections."""
        self._is_closed = True
        self._client.session.close()

    def _refusal(self, response: requests.Response) -> Outcome:
        """What an answer other than 2xx means."""
        status, problem = response.status_code, _problem(response)
        if status == 429 and "usage-capped" in str(problem.get("type")):
            raise self._unavailable(*_NEEDS_OPERATOR[402])
        if status in (429, 503):
            return Retry(_pause(response.headers), str(status))
        if status >= 500:
            return InDoubt(str(status))  # it broke at X, nobody can tell how far the post had come
        errors = [error for error in problem.get("errors", ()) if isinstance(error, dict)]
        if status == 413:
            return Rejected(RejectReason.TOO_LARGE, "413")
        if any("participant_id" in (error.get("parameters") or ()) for error in errors):
            return Rejected(RejectReason.BAD_ADDRESS, str(status))
        if status in (400, 403):
            codes = (_BY_CODE.get(error.get("code", 0)) for error in errors)
            words = " ".join(
                [str(problem.get("detail", "")), *(str(error.get("message", "")) for error in errors)]
            ).lower()
            known = (refusal for phrase, refusal in _BY_WORDS.items() if phrase in words)
            if found := next((refusal for refusal in (*codes, *known) if refusal), None):
                return found
        if status == 400:
            return Rejected(RejectReason.CONTENT, "400")
        raise self._unavailable(*_NEEDS_OPERATOR.get(status, _NO_API), status)

    def _unavailable(self, what: str, hint: str, status: int | None = None) -> ChannelUnavailable:
        code = f" ({status})" if status else ""
        return ChannelUnavailable(f"channel {self._name!r}: {what}{code}", hint=hint)


class _Refused(Exception):
    """An answer other than 2xx. tweepy's own errors break on answers of another form than X's."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class _WayOut(HTTPAdapter):
    """Sends to `base_url` what is meant for X, over `concurrency` connections; follows no redirect."""

    def __init__(self, settings: XSettings) -> None:
        # Who finds none free waits for one: else it opens another, which is thrown away after the call.
        super().__init__(pool_maxsize=settings.concurrency, pool_block=True)
        self._base_url = settings.base_url.rstrip("/")
        self._timeout = settings.timeout.total_seconds()

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        if self._base_url != HOST:
            request.url = self._base_url + str(request.url).removeprefix(HOST)
            options["proxies"] = get_environ_proxies(request.url)
        response = super().send(request, **options | {"timeout": self._timeout, "stream": True})
        # As `content` would keep it; requests limits neither its length nor its time.
        response._content = self._body(response)
        if not 200 <= response.status_code < 300:
            raise _Refused(response)
        return response

    def _body(self, response: requests.Response) -> bytes:
        body, give_up = bytearray(), monotonic() + self._timeout
        try:
            while some := response.raw.read1(_READ_AT_ONCE, decode_content=True):
                body += some
                if len(body) > LONGEST_ANSWER or monotonic() > give_up:
                    response.close()
                    raise requests.ReadTimeout("the answer is too long, or takes too long")
        except HTTPError as error:
            raise requests.ConnectionError(error) from None
        return bytes(body)


def _plain(secret: Any) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _problem(response: requests.Response) -> dict[str, Any]:
    """What X says went wrong; its texts quote names and posts, so they are only looked through."""
    try:
        problem = response.json()
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) and isinstance(problem.get("errors", []), list) else {}


def _pause(headers: Any) -> timedelta | None:
    """How long X asks us to wait, by its own clock."""
    if (asked := retry_after(headers)) is not None:
        return asked
    try:
        return until(datetime.fromtimestamp(int(headers["x-rate-limit-reset"]), UTC), headers)
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def _never_connected(error: requests.ConnectionError) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError)
