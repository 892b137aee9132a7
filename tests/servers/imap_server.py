"""A real mail server that keeps a mailbox: pymap, in memory."""

from __future__ import annotations

import asyncio
import ssl
import threading
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Self

import trustme
from imapclient import IMAPClient
from proxyprotocol.reader import ProxyProtocolReader
from pymap.backend.dict import DictBackend
from pymap.imap import IMAPServer
from pysasl.hashing import BuiltinHash

USERNAME, PASSWORD = "bounce@r.acme.example", "s3cret-Wert"


class ImapServer:
    """Serves one mailbox on 127.0.0.1 from a thread until closed, by TLS from the first byte or STARTTLS."""

    def __init__(
        self, authority: trustme.CA, *, starttls: bool = False, certificate: trustme.LeafCert | None = None
    ) -> None:
        self._served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        (certificate or authority.issue_cert("127.0.0.1")).configure_cert(self._served)
        self._is_starttls = starttls
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])
        self._thread.start()
        assert self._is_ready.wait(30)

    def put(self, *letters: bytes, folder: str = "INBOX", at: datetime | None = None) -> None:
        """Letters arrive, at this moment."""
        with self.client() as client:
            for letter in letters:
                client.append(folder, letter, msg_time=at or datetime.now(UTC))

    def client(self) -> IMAPClient:
        """A connection of the mailbox's owner, who trusts anybody."""
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        tls = {} if self._is_starttls else {"ssl_context": trusting}
        client = IMAPClient("127.0.0.1", self.port, ssl=not self._is_starttls, timeout=30, **tls)
        if self._is_starttls:
            client.starttls(trusting)
        client.login(USERNAME, PASSWORD)
        return client

    def flags(self, folder: str = "INBOX") -> list[Sequence[bytes]]:
        """The flags of each letter."""
        with self.client() as client:
            client.select_folder(folder, readonly=True)
            return list(client.get_flags(client.search()).values())

    def close(self) -> None:
        """Breaks every connection off; its port refuses new ones."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(30)
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def _serve(self) -> None:
        arguments = Namespace(
            host="127.0.0.1",
            port=0,
            debug=False,
            cert=None,
            key=None,
            tls=self._is_starttls,
            passlib_cfg=None,
            proxy_protocol=None,
            demo_data=False,
            demo_user=USERNAME,
            demo_password=PASSWORD,
        )
        backend, config = await DictBackend.init(
            arguments,
            ssl_context=self._served,
            invalid_user_sleep=0,
            hash_context=BuiltinHash(rounds=1),  # a login is no work
        )
        config.apply_context()
        serve = ProxyProtocolReader(config.proxy_protocol).get_callback(IMAPServer(backend.login, config))
        server = await asyncio.start_server(
            serve, "127.0.0.1", 0, ssl=None if self._is_starttls else self._served
        )
        self.port: int = server.sockets[0].getsockname()[1]
        self._is_ready.set()
        await self._stopping.wait()
        server.close()
        open_ones = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
