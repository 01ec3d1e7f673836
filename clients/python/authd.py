"""A client of authd, the local daemon that owns OpenAI logins and hands out ready headers.

One file, nothing but the standard library: copy it into your program, or import it from here.

    from authd import Authd

    authd = Authd()
    ready = authd.headers()                     # ask before every request: authd keeps it fresh
    post(ready.responses_url, headers=dict(ready.headers))

    authd.token()                               # the bare bearer token
    authd.login(on_started=lambda login: print(login.authorize_url))
    authd.relay().url                           # a base URL that needs no token at all

What goes wrong is an `AuthdError`; `NoDaemon` if nobody listens. Nothing is cached here: authd answers from
memory, and a kept token is a token that expires.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union
from urllib.parse import quote, urlencode

__all__ = ["Authd", "AuthdError", "Headers", "Login", "NoDaemon", "RelayBase", "default_socket"]

# How long an answer may take: longer than authd gives a refresh at the provider.
_TIMEOUT = 90.0
# How long one look at a login lasts; authd allows 60.
_LONG_POLL = 50
# The longest path of a socket, in bytes, on every platform: macOS holds 104 with the closing NUL.
_MAX_SOCKET_PATH = 103


class AuthdError(Exception):
    """What authd refused (RFC 9457), or why it could not be asked."""

    def __init__(self, code: str, detail: str, hint: Optional[str] = None, status: int = 0) -> None:
        super().__init__(f"{detail} ({hint})" if hint else detail)
        self.code = code
        """One of the codes in docs/api.md, for example `login_required`."""
        self.detail = detail
        """What happened, in a sentence."""
        self.hint = hint
        """What to do about it, if authd knows."""
        self.status = status
        """The HTTP status; 0 if there was no answer."""


class NoDaemon(AuthdError):
    """Nobody listens on the socket."""

    def __init__(self, detail: str) -> None:
        super().__init__("no_daemon", detail, "run: authctl login, which starts authd")


@dataclass(frozen=True)
class Headers:
    """Ready-to-use headers and where they are good. The secret stays out of `repr` and so out of logs."""

    profile: str
    mode: str
    """`chatgpt` or `api-key`."""
    base_url: str
    responses_url: str
    headers: Tuple[Tuple[str, str], ...] = field(repr=False)
    """Ordered pairs: `dict(ready.headers)` is what most libraries want."""
    generation: int
    """Counts up. Hand the headers to `Authd.rejected` if the provider answers 401."""
    expires_at: Optional[str]
    """RFC 3339; None if it never expires."""
    grant_id: str = ""
    """Random id of the grant, made at sign-in; empty if authd is older than this field."""


@dataclass(frozen=True)
class Login:
    """A sign-in under way or over."""

    id: str
    profile: str
    flow: str
    state: str
    """`pending`, `exchanging`, `succeeded`, `failed`, `expired` or `cancelled`."""
    authorize_url: Optional[str] = field(default=None, repr=False)
    """Browser flow: the page to open."""
    open_url: Optional[str] = field(default=None, repr=False)
    """Browser flow: an address of one use that leads there, for a command line that others see."""
    verification_url: Optional[str] = None
    """Device flow: the page to open on any device, …"""
    user_code: Optional[str] = field(default=None, repr=False)
    """… and the code to type there."""
    expires_at: Optional[str] = None
    error: Optional[Mapping[str, Any]] = None
    result: Optional[Mapping[str, Any]] = None
    """The profile that is signed in now."""

    @property
    def pending(self) -> bool:
        """Whether it is still under way."""
        return self.state in ("pending", "exchanging")


@dataclass(frozen=True)
class RelayBase:
    """Where to send requests that authd puts the headers into."""

    socket_path: str
    base_path: str

    @property
    def url(self) -> str:
        """The base URL for an HTTP library that has been told to use the socket."""
        return "http://authd" + self.base_path

    def connection(self, timeout: Optional[float] = None) -> http.client.HTTPConnection:
        """A connection over the socket; request paths are `base_path + "/responses"` and the like.

        A 401 with `Authd-Renewed` came with a body that authd could not send again: send it again yourself.
        """
        return _UnixConnection(self.socket_path, timeout)


class Authd:
    """The daemon on a socket. It holds no connection, so threads may share it."""

    def __init__(self, socket_path: Union[str, "os.PathLike[str]", None] = None) -> None:
        self.socket_path: str = _checked(os.fspath(socket_path) if socket_path is not None else default_socket())

    def headers(self, profile: Optional[str] = None, min_ttl: Optional[int] = None) -> Headers:
        """Headers that are good for at least `min_ttl` more seconds; authd refreshes first if need be."""
        query = "" if min_ttl is None else "?" + urlencode({"min_ttl": min_ttl})
        answer = self._ask("GET", _of(profile) + "/headers" + query)
        return Headers(
            profile=answer["profile"],
            mode=answer["mode"],
            base_url=answer["base_url"],
            responses_url=answer["responses_url"],
            headers=tuple((name, value) for name, value in answer["headers"]),
            generation=answer["generation"],
            expires_at=answer.get("expires_at"),
            grant_id=answer.get("grant_id", ""),
        )

    def token(self, profile: Optional[str] = None, min_ttl: Optional[int] = None) -> str:
        """The bare bearer token, for libraries that build the header themselves."""
        for name, value in self.headers(profile, min_ttl).headers:
            scheme, _, token = value.partition(" ")
            if name.lower() == "authorization" and scheme == "Bearer":
                return token
        raise AuthdError("unknown", "authd's headers hold no bearer token")

    def login(
        self,
        profile: Optional[str] = None,
        *,
        flow: str = "browser",
        mode: str = "auto",
        workspace: Optional[str] = None,
        replace: bool = False,
        wait: bool = True,
        on_started: Optional[Callable[[Login], None]] = None,
    ) -> Login:
        """Starts a sign-in; only a person can finish it.

        `on_started` gets the login with the address to open, before the waiting begins. With `wait=False` the
        login is returned as it started: hand it to `wait` later.
        """
        wish = {"profile": profile, "flow": flow, "mode": mode, "workspace": workspace, "replace": replace}
        body = {name: value for name, value in wish.items() if value is not None}
        login = _login(self._ask("POST", "/v1/logins", body))
        if on_started is not None:
            on_started(login)
        return self.wait(login) if wait else login

    def wait(self, login: Union[Login, str]) -> Login:
        """Waits until a login is over, and raises unless somebody is signed in."""
        known = login.id if isinstance(login, Login) else login
        path = f"/v1/logins/{quote(known, safe='')}?wait={_LONG_POLL}"
        while True:
            now = _login(self._ask("GET", path))
            if now.state == "succeeded":
                return now
            if not now.pending:
                raise _refusal(now.error or {"detail": f"the login is over: {now.state}"}, 0)

    def relay(self, profile: Optional[str] = None) -> RelayBase:
        """Where to send requests without any token: authd puts the headers in, and retries after a 401."""
        return RelayBase(self.socket_path, _of(profile) + "/relay")

    def rejected(self, refused: Union[Headers, int], profile: Optional[str] = None) -> None:
        """Says that the provider answered 401 to these headers; ask for new ones afterwards.

        authd refreshes only if they are still the current ones, so that every program may say it. A bare
        generation is taken, too, but does not tell a sign-in from the next one.
        """
        if isinstance(refused, Headers):
            body: Dict[str, Any] = {"rejected_generation": refused.generation}
            # An older authd tells no grant, and refuses a field that it does not know.
            if refused.grant_id:
                body["grant_id"] = refused.grant_id
            profile = refused.profile if profile is None else profile
        else:
            body = {"rejected_generation": refused}
        self._ask("POST", _of(profile) + "/refresh", body)

    def _ask(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
        connection = _UnixConnection(self.socket_path, _TIMEOUT)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise NoDaemon(f"nobody listens on {self.socket_path}: {error}") from error
            try:
                sent = None if body is None else json.dumps(body)
                connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
                response = connection.getresponse()
                said = response.read()
            except socket.timeout as error:
                raise AuthdError("timeout", f"authd did not answer within {_TIMEOUT:.0f} s") from error
            except (OSError, http.client.HTTPException) as error:
                raise AuthdError("unknown", f"authd broke off: {error!r}") from error
        finally:
            connection.close()
        try:
            answer = json.loads(said)
        except ValueError:
            answer = None
        if response.getheader("Authd-Version") is None or not isinstance(answer, dict):
            detail = f"whoever answers on {self.socket_path} is not authd"
            raise AuthdError("unknown", detail, "name authd's own socket with AUTHD_SOCKET", response.status)
        if response.status >= 400:
            raise _refusal(answer, response.status)
        return answer


def default_socket() -> str:
    """Where authd listens unless it was told otherwise."""
    named = os.environ.get("AUTHD_SOCKET")
    if named:
        return named
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    elif os.path.isabs(runtime):
        base = runtime
    else:
        cache = os.environ.get("XDG_CACHE_HOME", "")
        base = cache if os.path.isabs(cache) else os.path.expanduser("~/.cache")
    return os.path.join(base, "authd", "authd.sock")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: Optional[float]) -> None:
        # The name goes into the Host header, and authd answers to no other.
        super().__init__("authd", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
            # Before anything is sent: another user's listener would read the request and choose the answer.
            uid, own = _peer_uid(self.sock), os.geteuid()
            if uid != own:
                detail = f"{self._path} is served by another user (uid {uid}), not by uid {own}; nothing was sent"
                raise AuthdError("forbidden", detail, "name the socket of your own daemon with AUTHD_SOCKET")
        except BaseException:
            self.close()
            raise

    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except (BrokenPipeError, ConnectionResetError):
            # Whoever hangs up on a long body may have answered first. If not, whoever asks for the answer is told.
            pass


def _peer_uid(connection: socket.socket) -> int:
    """The user that the listener runs as: the kernel recorded it when it began to listen."""
    if sys.platform == "linux":
        # unix(7): struct ucred {pid, uid, gid}.
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("=iII", credentials)[1])
    # LOCAL_PEERCRED (1) at SOL_LOCAL (0), as getpeereid(3) reads it: struct xucred {version, uid, …}.
    return int(struct.unpack_from("=II", connection.getsockopt(0, 1, 76))[1])


def _checked(path: str) -> str:
    if not os.path.isabs(path):
        detail = f"the socket's path must be absolute: {path}"
        raise AuthdError("bad_request", detail, "name it from the root with AUTHD_SOCKET")
    length = len(os.fsencode(path))
    if length > _MAX_SOCKET_PATH:
        detail = f"the socket's path is {length} bytes long, and the system allows {_MAX_SOCKET_PATH}: {path}"
        raise AuthdError("bad_request", detail, "choose a shorter one with AUTHD_SOCKET")
    return path


def _of(profile: Optional[str]) -> str:
    return "/v1/profiles/" + ("-" if profile is None else quote(profile, safe=""))


def _login(answer: Mapping[str, Any]) -> Login:
    # What a later authd says in addition is left out.
    return Login(**{name: answer[name] for name in Login.__dataclass_fields__ if name in answer})


def _refusal(problem: Mapping[str, Any], status: int) -> AuthdError:
    code = problem.get("code", "unknown")
    detail = problem.get("detail") or problem.get("title") or "authd gave no reason"
    return AuthdError(code, detail, problem.get("hint"), problem.get("status", status))
