"""A way out to public addresses alone: no setting makes Holdfast a door into the network it runs in."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from channels.http_connections import KEPT
from holdfast.errors import ChannelUnavailable

# Where Azure and Oracle's cloud tell machines about themselves; Python 3.11 takes both for global. What other
# clouds use is not.
_METADATA = (ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24"))


def resolve(host: str, port: int) -> list[str]:
    """The host's addresses, as the machine finds them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether anybody could reach the address from anywhere."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    # In an address of 6to4 is one of IPv4, of any kind. Python takes what was site-local once for global.
    if isinstance(ip, IPv6Address) and (ip.sixtofour is not None or ip.is_site_local):
        return False
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _METADATA)
    return ip.is_global and not is_special


class PublicTransport(httpx.HTTPTransport):
    """Finds out a host's addresses once a request, checks them all, and connects to one of these.

    The name stays what the Host header, TLS's server name and the certificate are about. Asking the network
    for the name again, to connect, would let it answer with another address than the checked one.
    """

    def __init__(
        self,
        name: str,
        context: ssl.SSLContext,
        *,
        resolve: Callable[[str, int], Sequence[str]] = resolve,
        is_allowed: Callable[[str], bool] = is_public,
    ) -> None:
        """`name` is the channel's, for errors."""
        super().__init__(verify=context, trust_env=False, limits=KEPT)
        self._name, self._resolve, self._is_allowed = name, resolve, is_allowed

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises ChannelUnavailable for a host with an address that is not allowed."""
        named = request.url
        try:
            addresses = self._resolve(named.host, named.port or (443 if named.scheme == "https" else 80))
        except (OSError, UnicodeError):
            raise httpx.ConnectError("no such host", request=request) from None
        if not all(map(self._is_allowed, addresses)):
            raise ChannelUnavailable(
                f"channel {self._name!r}: base_url leads to an address that is not public",
                hint="allow_private: true lets it, where this is meant",
            )
        request.extensions = {**request.extensions, "sni_hostname": named.host}
        failure: httpx.TransportError = httpx.ConnectError("no address", request=request)
        for address in addresses:
            request.url = named.copy_with(host=address)
            try:
                return super().handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
            finally:
                request.url = named
        raise failure
