"""Tests of the client with a real daemon on $AUTHD_SOCKET.

It has the profiles `default` and `work`. Run them with `cargo xtask test ways`, which starts the daemon and a sandbox provider.
"""

import contextlib
import errno
import json
import os
import socket
import tempfile
import threading
import unittest
import urllib.error
import urllib.request
from typing import Any, Iterator, List, Optional
from unittest import mock

from authd import Authd, AuthdError, Login, NoDaemon, _session_runtime_dir, default_socket

QUESTION = {
    "model": "gpt-5.5",
    "instructions": "Be brief.",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}],
    "store": False,
    "stream": True,
}


class WithDaemon(unittest.TestCase):
    def setUp(self) -> None:
        self.authd = Authd()

    def test_headers_are_ready_and_profile_defaults_to_the_default_one(self) -> None:
        ready = self.authd.headers()
        self.assertEqual((ready.profile, ready.mode), ("default", "chatgpt"))
        self.assertEqual(ready.responses_url, ready.base_url + "/responses")
        self.assertIn("chatgpt-account-id", dict(ready.headers))
        self.assertIsNotNone(ready.expires_at)

        work = self.authd.headers("work", min_ttl=300)
        self.assertEqual((work.profile, work.mode, work.expires_at), ("work", "api-key", None))

    def test_token_is_the_one_in_the_headers_and_repr_hides_it(self) -> None:
        token = self.authd.token("work")
        ready = self.authd.headers("work")
        self.assertEqual(dict(ready.headers)["Authorization"], "Bearer " + token)
        self.assertNotIn(token, repr(ready))

    def test_provider_accepts_the_headers(self) -> None:
        for profile in ("default", "work"):
            ready = self.authd.headers(profile)
            sent = dict(ready.headers, **{"Content-Type": "application/json"})
            request = urllib.request.Request(ready.responses_url, json.dumps(QUESTION).encode(), sent)
            with urllib.request.urlopen(request, timeout=30) as response:
                self.assertIn(" 4", answer_text(response.read()))

    def test_relay_needs_no_token(self) -> None:
        for profile in (None, "work"):
            base = self.authd.relay(profile)
            connection = base.connection(timeout=30)
            sent = {"Content-Type": "application/json"}
            connection.request("POST", base.base_path + "/responses", json.dumps(QUESTION), sent)
            self.assertIn(" 4", answer_text(connection.getresponse().read()))
            connection.close()
        self.assertEqual(self.authd.relay("work").url, "http://authd/v1/profiles/work/relay")

    def test_several_reports_of_a_rejected_generation_cause_one_refresh(self) -> None:
        before = self.authd.headers()
        for refused in (before, before, before.generation):
            self.authd.rejected(refused)
        self.assertEqual(self.authd.headers().generation, before.generation + 1)

    def test_login_calls_on_started_and_waits_for_the_end(self) -> None:
        shown = []

        def browse(login: Login) -> None:
            shown.append(login)
            # The sandbox signs in the named account without a password.
            open_page(f"{login.authorize_url}&account=plus")

        login = self.authd.login("from-python", on_started=browse)
        self.assertEqual([login.id], [started.id for started in shown])
        self.assertEqual(login.state, "succeeded")
        self.assertEqual((login.result or {})["name"], "from-python")

    def test_login_started_without_waiting_can_be_waited_for_later(self) -> None:
        login = self.authd.login("later", wait=False)
        self.assertTrue(login.pending)
        open_page(f"{login.authorize_url}&decision=deny")
        with self.assertRaises(AuthdError) as caught:
            self.authd.wait(login.id)
        self.assertEqual(caught.exception.code, "login_denied")

    def test_error_has_a_code_a_reason_and_a_hint(self) -> None:
        with self.assertRaises(AuthdError) as caught:
            self.authd.headers("nobody")
        error = caught.exception
        self.assertEqual((error.code, error.status), ("profile_unknown", 404))
        self.assertIn("nobody", error.detail)
        self.assertIn("there are: default", str(error))

        # authd rejects an invalid name; it does not become another path.
        with self.assertRaises(AuthdError):
            self.authd.headers("../../v1/status")


class WithoutDaemon(unittest.TestCase):
    def test_missing_daemon_is_a_no_daemon_error(self) -> None:
        with tempfile.TemporaryDirectory() as empty:
            with self.assertRaises(NoDaemon) as caught:
                Authd(os.path.join(empty, "no.sock")).token()
        self.assertEqual((caught.exception.code, caught.exception.status), ("no_daemon", 0))

    def test_a_stale_and_a_forbidden_socket_are_told_apart(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "authd.sock")
            with self.assertRaisesRegex(NoDaemon, "does not exist"):
                Authd(path).token()
            with socket.socket(socket.AF_UNIX) as ended:
                ended.bind(path)
            with self.assertRaisesRegex(NoDaemon, "has ended left the socket behind"):
                Authd(path).token()
            with self.assertRaisesRegex(NoDaemon, "does not exist"):
                Authd(os.path.join(path, "below-a-socket")).token()
            loop = os.path.join(directory, "loop")
            os.symlink(loop, loop)
            with self.assertRaisesRegex(AuthdError, "cannot connect to") as caught:
                Authd(loop).token()
            self.assertEqual(caught.exception.code, "internal")
            for error in (PermissionError(errno.EPERM, "no"), PermissionError(errno.EACCES, "no")):
                with mock.patch("socket.socket.connect", side_effect=error):
                    with self.assertRaisesRegex(AuthdError, "may not connect") as caught:
                        Authd(path).token()
                self.assertEqual(caught.exception.code, "forbidden")

    def test_session_runtime_directory_must_be_a_directory_of_the_user(self) -> None:
        uid = os.geteuid()
        with tempfile.TemporaryDirectory() as parent:
            own = os.path.join(parent, str(uid))
            self.assertIsNone(_session_runtime_dir(parent, uid))
            os.mkdir(own)
            os.mkdir(os.path.join(parent, str(uid + 1)))
            self.assertEqual(_session_runtime_dir(parent, uid), own)
            self.assertIsNone(_session_runtime_dir(parent, uid + 1))

    def test_another_program_on_the_socket_is_an_error(self) -> None:
        foreign = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        with serve(foreign + b"hi", foreign + b"{}", b"") as path:
            for message in ("not authd.*AUTHD_SOCKET", "not authd", "connection to authd broke"):
                with self.assertRaisesRegex(AuthdError, message):
                    Authd(path).headers()

    @unittest.skipUnless(os.geteuid() == 0, "only root can change its user for a moment")
    def test_nothing_is_sent_to_a_listener_of_another_user(self) -> None:
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as other:
            os.chmod(directory, 0o777)
            path = os.path.join(directory, "other.sock")
            os.seteuid(65534)
            try:
                other.bind(path)
                other.listen()
            finally:
                os.seteuid(0)
            authd = Authd(path)
            for request in (authd.headers, authd.login, lambda: authd.relay().connection(30).request("GET", "/")):
                with self.assertRaisesRegex(AuthdError, "another user .uid 65534.*AUTHD_SOCKET") as caught:
                    request()
                self.assertEqual(caught.exception.code, "forbidden")
                client, _ = other.accept()
                with client:
                    self.assertEqual(client.recv(1), b"")

    def test_rejection_contains_the_grant_id_if_authd_sends_one(self) -> None:
        requests: List[bytes] = []
        body = {"profile": "work", "mode": "chatgpt", "base_url": "", "responses_url": "", "headers": []}
        old, new = dict(body, generation=7), dict(body, generation=7, grant_id="g1")
        done = response({"name": "work"})
        with serve(response(new), done, response(old), done, done, requests=requests) as path:
            authd = Authd(path)
            authd.rejected(authd.headers())
            authd.rejected(authd.headers())
            authd.rejected(7, "home")
        bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in requests if b"POST" in request]
        expected = {"rejected_generation": 7}
        self.assertEqual(bodies, [dict(expected, grant_id="g1"), expected, expected])
        paths = [request.split()[1] for request in requests if b"POST" in request]
        self.assertEqual(paths, [b"/v1/profiles/%s/refresh" % name for name in (b"work", b"work", b"home")])

    def test_response_is_read_even_if_the_server_does_not_read_the_body(self) -> None:
        with serve(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno", b"") as path:
            base = Authd(path).relay()
            connection = base.connection(timeout=30)
            connection.request("POST", base.base_path + "/responses", b"x" * (8 << 20))
            response = connection.getresponse()
            self.assertEqual((response.status, response.read()), (413, b"no"))
            connection.close()
            # No response is an error.
            connection.request("POST", base.base_path + "/responses", b"x" * (8 << 20))
            with self.assertRaises(OSError):
                connection.getresponse()
            connection.close()

    def test_invalid_socket_path_is_an_error_at_once(self) -> None:
        for path, message in (
            ("authd.sock", "must be absolute: authd.sock .*AUTHD_SOCKET"),
            ("/" + "\u00fc" * 52, "105 bytes long, and the system allows 103.*AUTHD_SOCKET"),
        ):
            with mock.patch.dict(os.environ, {"AUTHD_SOCKET": path}), self.assertRaisesRegex(AuthdError, message):
                Authd()
            with self.assertRaisesRegex(AuthdError, message):
                Authd(path)
        self.assertEqual(Authd("/" + "x" * 102).socket_path, "/" + "x" * 102)

    def test_environment_determines_the_default_socket(self) -> None:
        xdg = {"XDG_RUNTIME_DIR": "/run/u", "XDG_CACHE_HOME": "/c"}
        for platform, env, expected in (
            ("linux", {"AUTHD_SOCKET": "/a/b", "XDG_RUNTIME_DIR": "/run/u"}, "/a/b"),
            ("linux", {"AUTHD_SOCKET": "", "XDG_RUNTIME_DIR": "/run/u"}, "/run/u/authd/authd.sock"),
            ("linux", {"XDG_CACHE_HOME": "/c", "XDG_RUNTIME_DIR": "relative"}, "/c/authd/authd.sock"),
            ("linux", {"HOME": "/home/me"}, "/home/me/.cache/authd/authd.sock"),
            ("darwin", {"AUTHD_SOCKET": "/a/b", "HOME": "/Users/me"}, "/a/b"),
            ("darwin", {"HOME": "/Users/me", **xdg}, "/Users/me/Library/Caches/authd/authd.sock"),
        ):
            session = mock.patch("authd._session_runtime_dir", return_value=None)
            with mock.patch.dict(os.environ, env, clear=True), mock.patch("sys.platform", platform), session:
                self.assertEqual(default_socket(), expected)
        session = mock.patch("authd._session_runtime_dir", return_value="/run/user/7")
        with mock.patch.dict(os.environ, {"HOME": "/home/me"}, clear=True), mock.patch("sys.platform", "linux"), session:
            self.assertEqual(default_socket(), "/run/user/7/authd/authd.sock")


@contextlib.contextmanager
def serve(*responses: bytes, requests: Optional[List[bytes]] = None) -> Iterator[str]:
    """A server that reads the first part of each request and sends these responses."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as other:
        path = os.path.join(directory, "other.sock")
        other.bind(path)
        other.listen()

        def run() -> None:
            for content in responses:
                client, _ = other.accept()
                request = client.recv(65536)
                # The body may arrive separately.
                if request.startswith(b"POST") and request.endswith(b"\r\n\r\n") and requests is not None:
                    request += client.recv(65536)
                if requests is not None:
                    requests.append(request)
                client.sendall(content)
                client.close()

        threading.Thread(target=run, daemon=True).start()
        yield path


def response(body: Any) -> bytes:
    """A response of authd."""
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nAuthd-Version: 1\r\nContent-Length: %d\r\n\r\n" % len(text) + text


def open_page(url: str) -> None:
    """Opens a page as a browser does; an error page is not an error."""
    try:
        urllib.request.urlopen(url, timeout=30).close()
    except urllib.error.HTTPError as page:
        page.close()


def answer_text(stream: bytes) -> str:
    """The text of a streamed response."""
    lines = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


if __name__ == "__main__":
    unittest.main()
