"""A client of authd, the local daemon that owns OpenAI logins and hands out ready headers.

One file without dependencies. Copy it into your program, or import it.

    from authd import Authd

    authd = Authd()
    ready = authd.headers()                     # before every request: authd keeps it fresh
    post(ready.responses_url, headers=dict(ready.headers))

    authd.token()                               # the bare bearer token
    authd.login(on_started=lambda login: print(login.authorize_url))
    authd.relay().url                           # a base URL that needs no token

Errors are of the type `AuthdError`, or `NoDaemon` if the daemon does not run. The client caches
nothing: authd answers from memory, and a cached token expires.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import stat
import struct
import sys
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union
from urllib.parse import quote, urlencode

__all__ = ["Authd", "AuthdError", "Headers", "Login", "NoDaemon", "RelayBase", "default_socket"]

# How long a response may take, in seconds: longer than the refresh deadline of authd.
_TIMEOUT = 90.0
# The duration of a long poll for a login, in seconds; authd allows 60.
_LONG_POLL = 50
# The longest path of a socket, in bytes: macOS allows 104 with the NUL at the end.
_MAX_SOCKET_PATH = 103


class AuthdError(Exception):
    """An error response of authd (RFC 9457), or the reason why there is no response."""

    def __init__(self, code: str, detail: str, hint: Optional[str] = None, status: int = 0) -> None:
        super().__init__(f"{detail} ({hint})" if hint else detail)
        self.code = code
        """One of the codes in docs/api.md, for example `login_required`."""
        self.detail = detail
        """What failed, and why."""
        self.hint = hint
        """What to do next, if authd knows."""
        self.status = status
        """The HTTP status; 0 if there is no response."""


class NoDaemon(AuthdError):
    """No daemon listens on the socket."""

    def __init__(self, detail: str) -> None:
        super().__init__("no_daemon", detail, "run: authctl login, which starts authd")


@dataclass(frozen=True)
class Headers:
    """Ready-to-use headers, and the URLs that they are valid for. `repr` hides the secret."""

    profile: str
    mode: str
    """`chatgpt` or `api-key`."""
    base_url: str
    responses_url: str
    headers: Tuple[Tuple[str, str], ...] = field(repr=False)
    """Ordered pairs. Most libraries take `dict(ready.headers)`."""
    generation: int
    """Increases with every change of the credential."""
    expires_at: Optional[str]
    """RFC 3339; None if it never expires."""
    grant_id: str = ""
    """Random id of the grant, made at sign-in; empty with an older authd."""


@dataclass(frozen=True)
class Login:
    """A login, pending or ended."""

    id: str
    profile: str
    flow: str
    state: str
    """`pending`, `exchanging`, `succeeded`, `failed`, `expired` or `cancelled`."""
    authorize_url: Optional[str] = field(default=None, repr=False)
    """Browser flow: the page to open."""
    open_url: Optional[str] = field(default=None, repr=False)
    """Browser flow: a URL that redirects there once, for a command line that other users see."""
    verification_url: Optional[str] = None
    """Device flow: the page to open on any device."""
    user_code: Optional[str] = field(default=None, repr=False)
    """Device flow: the code to enter on that page."""
    expires_at: Optional[str] = None
    error: Optional[Mapping[str, Any]] = None
    result: Optional[Mapping[str, Any]] = None
    """The profile of the new login."""

    @property
    def pending(self) -> bool:
        """Whether the login has not ended yet."""
        return self.state in ("pending", "exchanging")


@dataclass(frozen=True)
class RelayBase:
    """The base of requests to which authd adds the headers."""

    socket_path: str
    base_path: str

    @property
    def url(self) -> str:
        """The base URL, for an HTTP library that uses the socket."""
        return "http://authd" + self.base_path

    def connection(self, timeout: Optional[float] = None) -> http.client.HTTPConnection:
        """A connection over the socket. Request paths begin with `base_path`.

        A 401 with `Authd-Renewed` means that the body was too long for authd to send it again: send
        the request again.
        """
        return _UnixConnection(self.socket_path, timeout)


class Authd:
    """The daemon on a socket. Threads may share it: it holds no connection."""

    def __init__(self, socket_path: Union[str, "os.PathLike[str]", None] = None) -> None:
        self.socket_path: str = _check_path(os.fspath(socket_path) if socket_path is not None else default_socket())

    def headers(self, profile: Optional[str] = None, min_ttl: Optional[int] = None) -> Headers:
        """Headers that are valid for at least `min_ttl` more seconds; refreshes first if necessary."""
        query = "" if min_ttl is None else "?" + urlencode({"min_ttl": min_ttl})
        response = self._request("GET", _profile_path(profile) + "/headers" + query)
        return Headers(
            profile=response["profile"],
            mode=response["mode"],
            base_url=response["base_url"],
            responses_url=response["responses_url"],
            headers=tuple((name, value) for name, value in response["headers"]),
            generation=response["generation"],
            expires_at=response.get("expires_at"),
            grant_id=response.get("grant_id", ""),
        )

    def token(self, profile: Optional[str] = None, min_ttl: Optional[int] = None) -> str:
        """The bare bearer token, for libraries that create the header."""
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
        """Starts a login, which the user has to finish in a browser.

        Calls `on_started` with the login and its URL, then waits for the end. With `wait=False` it
        returns the pending login: pass it to `wait` later.
        """
        options = {"profile": profile, "flow": flow, "mode": mode, "workspace": workspace, "replace": replace}
        body = {name: value for name, value in options.items() if value is not None}
        login = _to_login(self._request("POST", "/v1/logins", body))
        if on_started is not None:
            on_started(login)
        return self.wait(login) if wait else login

    def wait(self, login: Union[Login, str]) -> Login:
        """Waits for the end of a login, and raises if it did not succeed."""
        login_id = login.id if isinstance(login, Login) else login
        path = f"/v1/logins/{quote(login_id, safe='')}?wait={_LONG_POLL}"
        while True:
            now = _to_login(self._request("GET", path))
            if now.state == "succeeded":
                return now
            if not now.pending:
                raise _to_error(now.error or {"detail": f"the login has ended: {now.state}"}, 0)

    def relay(self, profile: Optional[str] = None) -> RelayBase:
        """The base of requests without a token: authd adds the headers, and retries after a 401."""
        return RelayBase(self.socket_path, _profile_path(profile) + "/relay")

    def rejected(self, refused: Union[Headers, int], profile: Optional[str] = None) -> None:
        """Reports that the provider answered 401 to these headers; call `headers` afterwards.

        authd refreshes only if they are still current, so several programs may report them. A bare
        generation is accepted, too, but does not identify the login.
        """
        if isinstance(refused, Headers):
            body: Dict[str, Any] = {"rejected_generation": refused.generation}
            # An older authd sends no grant id, and rejects unknown fields.
            if refused.grant_id:
                body["grant_id"] = refused.grant_id
            profile = refused.profile if profile is None else profile
        else:
            body = {"rejected_generation": refused}
        self._request("POST", _profile_path(profile) + "/refresh", body)

    def _request(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
        connection = _UnixConnection(self.socket_path, _TIMEOUT)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise _to_connect_error(self.socket_path, error) from error
            try:
                sent = None if body is None else json.dumps(body)
                connection.request(method, path, sent, {"Content-Type": "application/json"} if sent else {})
                response = connection.getresponse()
                content = response.read()
            except socket.timeout as error:
                raise AuthdError("timeout", f"authd did not answer within {_TIMEOUT:.0f} s") from error
            except (OSError, http.client.HTTPException) as error:
                raise AuthdError("unknown", f"the connection to authd broke: {error!r}") from error
        finally:
            connection.close()
        try:
            message = json.loads(content)
        except ValueError:
            message = None
        if response.getheader("Authd-Version") is None or not isinstance(message, dict):
            detail = f"the program on {self.socket_path} is not authd"
            raise AuthdError("unknown", detail, "set AUTHD_SOCKET to the socket of authd", response.status)
        if response.status >= 400:
            raise _to_error(message, response.status)
        return message


def default_socket() -> str:
    """The socket of the environment, else the default one."""
    named = os.environ.get("AUTHD_SOCKET")
    if named:
        return named
    if sys.platform == "darwin":
        base: Optional[str] = os.path.expanduser("~/Library/Caches")
    else:
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        base = runtime if os.path.isabs(runtime) else _session_runtime_dir("/run/user", os.geteuid())
    if base is None:
        cache = os.environ.get("XDG_CACHE_HOME", "")
        base = cache if os.path.isabs(cache) else os.path.expanduser("~/.cache")
    return os.path.join(base, "authd", "authd.sock")


def _session_runtime_dir(parent: str, uid: int) -> Optional[str]:
    """logind's runtime directory of this user: cron and `su` do not pass XDG_RUNTIME_DIR on."""
    directory = os.path.join(parent, str(uid))
    try:
        found = os.lstat(directory)
    except OSError:
        return None
    return directory if stat.S_ISDIR(found.st_mode) and found.st_uid == uid else None


def _to_connect_error(path: str, error: OSError) -> AuthdError:
    if isinstance(error, PermissionError) or error.errno == errno.EAFNOSUPPORT:
        hint = "a sandbox or the modes of a directory forbid it, or the socket is another user's"
        return AuthdError("forbidden", f"this program may not connect to {path}: {error}", hint)
    if isinstance(error, (socket.timeout, BlockingIOError)):
        return AuthdError("timeout", f"authd does not accept connections on {path}")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NoDaemon(f"no daemon listens on {path}: the socket does not exist")
    if isinstance(error, ConnectionRefusedError):
        return NoDaemon(f"no daemon listens on {path}: a daemon that has ended left the socket behind")
    hint = "correct the path of the socket, or the limit of open files of this program"
    return AuthdError("internal", f"cannot connect to {path}: {error}", hint)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: Optional[float]) -> None:
        # The Host header: authd accepts no other.
        super().__init__("authd", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
            # Before the request: a listener of another user would read it and choose the response.
            uid, own = _peer_uid(self.sock), os.geteuid()
            if uid != own:
                detail = f"{self._path} is served by another user (uid {uid}), not by uid {own}; nothing was sent"
                raise AuthdError("forbidden", detail, "set AUTHD_SOCKET to the socket of your own daemon")
        except BaseException:
            self.close()
            raise

    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except (BrokenPipeError, ConnectionResetError):
            # The server may have responded before it closed the connection. If not, reading the
            # response raises an error.
            pass


def _peer_uid(connection: socket.socket) -> int:
    """The user of the listener, which the kernel recorded when it began to listen."""
    if sys.platform == "linux":
        # unix(7): struct ucred {pid, uid, gid}.
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("=iII", credentials)[1])
    # LOCAL_PEERCRED (1) at SOL_LOCAL (0), see getpeereid(3): struct xucred {version, uid, …}.
    return int(struct.unpack_from("=II", connection.getsockopt(0, 1, 76))[1])


def _check_path(path: str) -> str:
    if not os.path.isabs(path):
        detail = f"the path of the socket must be absolute: {path}"
        raise AuthdError("bad_request", detail, "set AUTHD_SOCKET to an absolute path")
    length = len(os.fsencode(path))
    if length > _MAX_SOCKET_PATH:
        detail = f"the path of the socket is {length} bytes long, and the system allows {_MAX_SOCKET_PATH}: {path}"
        raise AuthdError("bad_request", detail, "set AUTHD_SOCKET to a shorter path")
    return path


def _profile_path(profile: Optional[str]) -> str:
    return "/v1/profiles/" + ("-" if profile is None else quote(profile, safe=""))


def _to_login(response: Mapping[str, Any]) -> Login:
    # Ignores fields of a newer authd.
    return Login(**{name: response[name] for name in Login.__dataclass_fields__ if name in response})


def _to_error(problem: Mapping[str, Any], status: int) -> AuthdError:
    code = problem.get("code", "unknown")
    detail = problem.get("detail") or problem.get("title") or "authd gave no reason"
    return AuthdError(code, detail, problem.get("hint"), problem.get("status", status))
