"""Tracked links and the open pixel: how we learn that a message was opened, and which link was followed.

A tracked link is `{public_url}/c/{track token}/{link token}`. The first token is the message's, one value of
a message however many links it has; the second holds the signed address, and is the same for all customers.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.settings import Brand, Web

_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
_LINK_TAG = re.compile(r"""<a(?:rea)?\s(?:[^>"']|"[^"]*"|'[^']*')*>""", re.IGNORECASE)
_HREF = re.compile(r"""(\shref\s*=\s*)(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_HOST = re.compile(r"""https?://([\w.-]+(?::\d+)?)(?=[/?#"'\s<]|$)""", re.IGNORECASE)
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)


def link_target(url: str | None) -> str | None:
    """The address, or None where it is not one that a link may lead to: http, https, mailto or tel, plain."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme.lower() not in _SCHEMES or not url.isprintable() or " " in url or "\\" in url:
        return None
    if parts.scheme.lower() in ("http", "https") and not parts.hostname:
        return None
    return url


class Tracking:
    """Tracks the links of one project's email. Safe to share between threads."""

    def __init__(self, templates: Path, public_url: str, web: Web, sign_link: Callable[[str], str]) -> None:
        self._templates, self._base, self._web = templates, public_url.rstrip("/"), web
        self._sign_link = lru_cache(maxsize=4096)(sign_link)

    @classmethod
    def of(cls, templates: Path, brand: Brand, web: Web, sign_link: Callable[[str], str]) -> Tracking | None:
        """The project's; None while it has no public address: its tracked links would lead nowhere."""
        if brand.public_url == Brand.model_fields["public_url"].default:
            return None
        return cls(templates, brand.public_url, web, sign_link)

    def rewrite(self, page: str, token: str) -> str:
        """The HTML with its literal links tracked and the pixel at its end; `token` is what stands for the
        message's. A link that holds an expression is left alone: it is the filter's."""
        if self._web.track_clicks:
            page = _LINK_TAG.sub(lambda tag: self._tracked_tag(tag[0], token), page)
        if not self._web.track_opens:
            return page
        pixel = f'<img src="{html.escape(self._base)}/o/{token}.gif" width="1" height="1" alt="" />'
        end = max((match.start() for match in _BODY_END.finditer(page)), default=len(page))
        return page[:end] + pixel + page[end:]

    def url(self, target: str, token: str) -> str:
        """The tracked form of a computed address; as it is where its host is not written in any template.

        So no customer's data can make us sign, and vouch for, an address of somebody else's.
        """
        return self._tracked(target, token) if _host(target) in self._hosts else target

    def _tracked_tag(self, tag: str, token: str) -> str:
        def tracked(match: re.Match[str]) -> str:
            target = html.unescape(match[2] or match[3] or match[4] or "").strip()
            if not _host(target):
                return match[0]
            return f'{match[1]}"{html.escape(self._tracked(target, token))}"'

        return _HREF.sub(tracked, tag, count=1)

    def _tracked(self, target: str, token: str) -> str:
        own = f"{self._base}/"
        if not self._web.track_clicks or target.startswith(own):
            return target
        return f"{own}c/{token}/{self._sign_link(target)}"

    @cached_property
    def _hosts(self) -> frozenset[str]:
        """The hosts that the project's template files name."""
        files = (path for path in self._templates.rglob("*") if path.suffix in (".mjml", ".html", ".txt"))
        texts = (path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file())
        return frozenset(host.lower() for text in texts for host in _HOST.findall(text))


def _host(url: str) -> str | None:
    """Host and port of a web address that may be tracked. One with a user in it shows another host than it
    leads to, so it may not."""
    if link_target(url) is None:
        return None
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or "@" in parts.netloc:
        return None
    return parts.netloc.lower()
