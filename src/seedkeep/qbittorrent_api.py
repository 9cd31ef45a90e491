"""The library, as this project uses it: nothing of the environment, and no repeating unasked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qbittorrentapi
import requests
from qbittorrentapi.request import QbittorrentSession


class Api(qbittorrentapi.Client):
    """The library without what it takes from the environment by itself."""

    def __init__(
        self, host: str, username: str, password: str, timeout_s: float, verify: bool | str
    ) -> None:
        super().__init__(
            host=host,
            username=username,
            password=password,
            VERIFY_WEBUI_CERTIFICATE=verify is not False,
            REQUESTS_ARGS={"timeout": timeout_s},
            FORCE_SCHEME_FROM_HOST=True,
            RAISE_NOTIMPLEMENTEDERROR_FOR_UNIMPLEMENTED_API_ENDPOINTS=True,
            SIMPLE_RESPONSES=True,
            DISABLE_LOGGING_DEBUG_OUTPUT=True,
        )
        self.said = ""  # the last answer to a login
        self._once = False
        # An empty value makes the library look for QBITTORRENTAPI_* variables: somebody else's
        # password would be tried here, and the address banned for it.
        self.username, self._password, self._api_key = username, password, ""
        self._verify = verify

    @property
    def _session(self) -> QbittorrentSession:
        session = super()._session
        session.trust_env = False  # no ~/.netrc, no proxy for a program on this machine
        session.verify = self._verify
        session.hooks["response"] = [self._note_login]
        return session

    def _note_login(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        if answer.url.endswith("/auth/login"):
            self.said = answer.text

    @contextmanager
    def once(self) -> Iterator[None]:
        """Within, no change is asked for a second time because its answer did not come.

        Raises `requests.RequestException`, after which nobody knows whether it happened.
        """
        self._once = True
        try:
            yield
        finally:
            self._once = False

    def _request(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._request(*args, **kwargs)
        except qbittorrentapi.HTTP4XXError:
            raise  # an answer
        except requests.RequestException as why:
            if not self._once:
                raise
            # The library repeats whatever is none of its own errors, and those of a 5xx.
            kind = qbittorrentapi.APIConnectionError
            if isinstance(why, qbittorrentapi.HTTPError):
                kind = qbittorrentapi.HTTPError
            raise kind(*why.args, request=why.request, response=why.response) from why
