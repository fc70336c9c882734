"""https://HOST/PATH: an endpoint that answers in JSON; one POST is one attempt, with one deadline for all of it."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import http.client
import http.cookiejar
import json
import logging
import math
import os
import re
import socket
import ssl
import urllib.parse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..contracts import Dataset
from ..errors import ClassifierError, TargetError
from ..shapes import Float, Tensor
from .support.answers import LARGEST
from .support.background import in_background
from .support.local import library
from .support.settings import Settings
from .support.wire import Secrets, Wire, telling, wire

if TYPE_CHECKING:
    import httpx2

TIMEOUT = 30.0  # seconds
CONCURRENCY = 4
_RETRIED = {408, 425, 429}
_BUSY = {429, 503}
_STOPS = {401, 403}
_OURS = {"content-length", "transfer-encoding", "connection", "content-type"}  # headers that a user may not set
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")


def load(url: str, settings: Settings, data: Dataset | None = None) -> HttpClassifier:
    """An endpoint, as its user and the data describe it; nothing is sent.

    Raises:
        ClassifierError: the address, a header, the mapping or a variable of the environment is missing or wrong.
    """
    for logger in ("httpx2", "httpcore2"):  # would write addresses and headers, with what is secret in them
        logging.getLogger(logger).setLevel(logging.WARNING)
    library("httpx2", "http", "an endpoint")
    parts = _checked(url)
    for key, _ in urllib.parse.parse_qsl(parts.query):
        if telling(key):
            raise ClassifierError(f'{key[:40]}: give it as one of the params, with the value "env:NAME"')
    for key, text in settings.headers:
        if not _TOKEN.match(key) or key.lower() in _OURS:
            raise ClassifierError(f"headers: {key[:40]!r} cannot be set; expected the name of a header of yours")
        if not (text.isascii() and text.isprintable()):
            raise ClassifierError(f"headers: the value of {key} holds more than plain characters")
    if settings.files and (settings.body or settings.image == "pixels"):
        raise ClassifierError("files: images travel as a form; leave body and pixels out")
    public = [(key, text) for key, text in (*settings.headers, *settings.params) if "env:" not in text]
    origin = [parts.scheme, parts.netloc.lower(), parts.path, parts.query, repr(public)]
    return HttpClassifier(url, settings, wire(parts.netloc, origin, settings, data, CONCURRENCY))


def _checked(url: str) -> urllib.parse.SplitResult:
    """The parts of an address; it is shown in no message, as it may hold a secret."""
    import httpx2

    try:
        parts = urllib.parse.urlsplit(url)
        parsed = httpx2.URL(url)
        usable = bool(parts.hostname) and (parts.port is None or 0 < parts.port < 65536) and not re.search(r"\s", url)
        usable = usable and parsed.scheme in ("http", "https") and bool(parsed.host)
    except (ValueError, httpx2.InvalidURL):
        usable = False
    if not usable:
        raise ClassifierError("the address of the endpoint cannot be read; expected https://HOST/PATH") from None
    if "@" in parts.netloc:
        raise ClassifierError(
            f"the address of {parts.hostname} holds a user or a password; leave them out and give a header instead, "
            f'such as headers = {{Authorization = "Basic env:NAME"}}'
        )
    return parts


@dataclass
class _Reply:
    """What came back, as far as it came."""

    status: int
    headers: httpx2.Headers
    body: bytearray = field(default_factory=bytearray)


class HttpClassifier:
    """An endpoint behind the classifier contract: one call is one POST. It may be asked by several threads at once.

    Attributes:
        info: see `ClassifierInfo`.
        order: where each class stands in a plain list of scores.
        ahead: requests that are made ready while others are in flight; none where one is in flight at a time, so that
            nothing follows an answer that ends the run.
    """

    def __init__(self, url: str, settings: Settings, wire: Wire):
        self.info = wire.info
        self.order = list(wire.read.order)
        self._url = url.partition("#")[0]
        self._settings = settings
        self._wire = wire
        self._secrets = Secrets()
        self._timeout = settings.timeout or TIMEOUT
        self.ahead = 2 if wire.info.concurrency > 1 else 0
        self._calls = 0
        self._refused = False
        self._client: tuple[Any, httpx2.AsyncClient, asyncio.Semaphore] | None = None  # and the loop they live in
        self._dressed()

    def __call__(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Scores [N K], float32, for images [N C H W] in [0, 1].

        Raises:
            ClassifierError: the images have another shape, or a variable of the environment is gone.
            TargetError: there is no answer.
        """
        request = self._request(images)
        try:
            turns = 1 + math.ceil(self.ahead / self.info.concurrency)
            reply = in_background(self._post(**request), turns * self._timeout)
            return self._wire.read(_answer(reply), len(images))
        except Exception as error:
            clean = self._secrets.cleaned(_told(error, self._timeout))
        raise clean  # here, and not above, so that nothing secret hangs on it as its context

    def _dressed(self) -> tuple[str, list[tuple[str, str]]]:
        """Address and headers with their secrets."""
        headers = self._secrets.filled(self._settings.headers)
        params = urllib.parse.urlencode(self._secrets.filled(self._settings.params))
        mark = "&" if urllib.parse.urlsplit(self._url).query else "?"
        return (f"{self._url.rstrip('?')}{mark}{params}" if params else self._url), headers

    def _request(self, images: Tensor) -> dict[str, Any]:
        url, headers = self._dressed()
        plain = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "evofool"}
        own = {key.lower() for key, _ in headers}
        headers += [(key, text) for key, text in plain.items() if key.lower() not in own]
        if self._settings.files:
            kind = self._wire.image
            files = [
                (self._settings.files, (f"{i}.{kind}", file, f"image/{kind}"))
                for i, file in enumerate(self._wire.files(images))
            ]
            return {"url": url, "headers": headers, "files": files}
        content = json.dumps(self._wire.request(images), allow_nan=False).encode()
        return {"url": url, "headers": [*headers, ("Content-Type", "application/json")], "content": content}

    async def _post(self, url: str, headers: list[tuple[str, str]], **body: Any) -> _Reply:
        """One POST, from looking up the host to the last byte; of an error the status is enough."""
        import httpx2

        reply = None
        client, turn = self._open()
        self._calls += 1
        try:
            async with turn, asyncio.timeout(self._timeout):
                if self._refused:
                    raise TargetError("not sent, because another request was refused", fatal=True)
                async with client.stream("POST", url, headers=headers, **body) as response:
                    reply = _Reply(response.status_code, response.headers)
                    self._refused |= response.status_code in _STOPS
                    async for part in response.aiter_raw():
                        reply.body += part
                        if len(reply.body) > LARGEST:
                            raise TargetError(f"the answer has more than {LARGEST:,} bytes")
        except (TimeoutError, httpx2.HTTPError, TargetError):
            if reply is None or 200 <= reply.status < 300:
                raise
        finally:
            self._calls -= 1
            self._refused &= self._calls > 0  # a later run may have better credentials
        return reply

    def _open(self) -> tuple[httpx2.AsyncClient, asyncio.Semaphore]:
        """The client of this loop, and who may ask now; only the loop's thread comes here."""
        import httpx2

        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self.info.concurrency)
            client = httpx2.AsyncClient(
                verify=httpx2.create_ssl_context(),  # knows SSL_CERT_FILE; proxies and .netrc stay unread
                trust_env=False,
                follow_redirects=False,
                timeout=None,
                limits=limits,
                cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[])),  # keeps none
            )
            self._client = (loop, client, asyncio.Semaphore(self.info.concurrency))
        return self._client[1], self._client[2]


def _answer(reply: _Reply) -> bytes:
    """The body of a good answer.

    Raises:
        TargetError: it is none.
    """
    status, phrase = reply.status, http.client.responses.get(reply.status, "")
    if 200 <= status < 300 and status not in (204, 205):
        return _unpacked(bytes(reply.body), reply.headers.get("content-encoding", "identity").strip().lower())
    code = f"HTTP {status} {phrase}".strip()
    if 300 <= status < 400:
        raise TargetError(
            f"{code}: the endpoint has moved, and redirects are not followed; if it is meant, give its new address: "
            f"{reply.headers.get('location', '')}",
            fatal=True,
        )
    words = reply.body[:100_000].decode(errors="replace").strip()
    said = f"{code}: {words}" if words else code
    if status in _STOPS:
        raise TargetError(f"not allowed; check the headers and params: {said}", fatal=True)
    if status in _RETRIED or 500 <= status < 600:
        wait = retry_after(reply.headers.get("retry-after", ""), datetime.datetime.now(datetime.UTC))
        raise TargetError(said, retry_after=wait, busy=status in _BUSY)
    raise TargetError(said, again=not 400 <= status < 500)


def _unpacked(body: bytes, encoding: str) -> bytes:
    """The body as it was before it was packed, never more than may come unpacked."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise TargetError(f"the answer is packed, expected plain JSON: {encoding}")
    inflate = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
    try:
        text = inflate.decompress(body, LARGEST + 1)
    except zlib.error:
        raise TargetError(f"the answer is said to be {encoding}, and is not") from None
    if len(text) > LARGEST:
        raise TargetError(f"the answer has more than {LARGEST:,} bytes when it is unpacked")
    if not inflate.eof:
        raise TargetError("the answer ends before it is complete")
    return text


def retry_after(text: str, now: datetime.datetime) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None = it does not say."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - now).total_seconds())


def _told(error: Exception, timeout: float) -> Exception:
    """An exception of the network in words; it may be tried again, unless it cannot get better."""
    import httpx2

    if isinstance(error, TargetError | ClassifierError):
        return error
    causes = list(_causes(error))
    if isinstance(error, TimeoutError):
        return TargetError(f"no complete answer within {timeout:g} s (timeout)")
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TargetError(
                f"its certificate is not accepted ({cause.verify_message}); if it is yours, name the file of its "
                f"authority in SSL_CERT_FILE",
                fatal=True,
            )
        if isinstance(cause, socket.gaierror):
            return TargetError(f"its host name cannot be looked up: {cause.strerror}")
        if isinstance(cause, ConnectionError) and cause.errno:
            return TargetError(f"no connection, or no longer: {os.strerror(cause.errno)}")
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError | httpx2.InvalidURL):
        return TargetError(f"the request cannot be sent: {error}", fatal=True)
    words = {"ConnectError": "no connection", "RemoteProtocolError": "what came is not one whole HTTP answer"}
    last = next((str(cause) for cause in reversed(causes) if str(cause)), "")
    return TargetError(f"{words.get(type(error).__name__, 'the connection broke')}: {last or type(error).__name__}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that led to it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else seen.__cause__ or seen.__context__
