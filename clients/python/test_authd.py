"""Tests of the client against a real daemon: the one on $AUTHD_SOCKET, where `default` and `work` are signed in.

Run them with `cargo xtask test ways`, which brings up such a daemon with a stand-in for OpenAI behind it.
"""

import contextlib
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

from authd import Authd, AuthdError, Login, NoDaemon, default_socket

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

    def test_headers_are_ready_and_the_default_profile_is_the_default(self) -> None:
        ready = self.authd.headers()
        self.assertEqual((ready.profile, ready.mode), ("default", "chatgpt"))
        self.assertEqual(ready.responses_url, ready.base_url + "/responses")
        self.assertIn("chatgpt-account-id", dict(ready.headers))
        self.assertIsNotNone(ready.expires_at)

        work = self.authd.headers("work", min_ttl=300)
        self.assertEqual((work.profile, work.mode, work.expires_at), ("work", "api-key", None))

    def test_the_token_is_the_headers_token_and_no_repr_shows_it(self) -> None:
        token = self.authd.token("work")
        ready = self.authd.headers("work")
        self.assertEqual(dict(ready.headers)["Authorization"], "Bearer " + token)
        self.assertNotIn(token, repr(ready))

    def test_the_headers_are_good_for_a_question(self) -> None:
        for profile in ("default", "work"):
            ready = self.authd.headers(profile)
            sent = dict(ready.headers, **{"Content-Type": "application/json"})
            request = urllib.request.Request(ready.responses_url, json.dumps(QUESTION).encode(), sent)
            with urllib.request.urlopen(request, timeout=30) as response:
                self.assertIn(" 4", said(response.read()))

    def test_the_relay_needs_no_token(self) -> None:
        for profile in (None, "work"):
            base = self.authd.relay(profile)
            connection = base.connection(timeout=30)
            sent = {"Content-Type": "application/json"}
            connection.request("POST", base.base_path + "/responses", json.dumps(QUESTION), sent)
            self.assertIn(" 4", said(connection.getresponse().read()))
            connection.close()
        self.assertEqual(self.authd.relay("work").url, "http://authd/v1/profiles/work/relay")

    def test_a_rejected_generation_is_refreshed_once_however_often_it_is_said(self) -> None:
        before = self.authd.headers()
        for refused in (before, before, before.generation):
            self.authd.rejected(refused)
        self.assertEqual(self.authd.headers().generation, before.generation + 1)

    def test_a_login_is_started_shown_and_waited_for(self) -> None:
        shown = []

        def browse(login: Login) -> None:
            shown.append(login)
            # The stand-in for OpenAI signs in whoever is named, without asking.
            open_page(f"{login.authorize_url}&account=plus")

        login = self.authd.login("from-python", on_started=browse)
        self.assertEqual([login.id], [started.id for started in shown])
        self.assertEqual(login.state, "succeeded")
        self.assertEqual((login.result or {})["name"], "from-python")

    def test_a_login_that_nobody_waits_for_can_be_waited_for_later(self) -> None:
        login = self.authd.login("later", wait=False)
        self.assertTrue(login.pending)
        open_page(f"{login.authorize_url}&decision=deny")
        with self.assertRaises(AuthdError) as caught:
            self.authd.wait(login.id)
        self.assertEqual(caught.exception.code, "login_denied")

    def test_a_refusal_says_what_and_what_to_do(self) -> None:
        with self.assertRaises(AuthdError) as caught:
            self.authd.headers("nobody")
        error = caught.exception
        self.assertEqual((error.code, error.status), ("profile_unknown", 404))
        self.assertIn("nobody", error.detail)
        self.assertIn("authctl login nobody", str(error))

        # A name that is none is refused by authd, and does not become another path.
        with self.assertRaises(AuthdError):
            self.authd.headers("../../v1/status")


class WithoutDaemon(unittest.TestCase):
    def test_nobody_there_is_an_error_of_its_own(self) -> None:
        with tempfile.TemporaryDirectory() as empty:
            with self.assertRaises(NoDaemon) as caught:
                Authd(os.path.join(empty, "no.sock")).token()
        self.assertEqual((caught.exception.code, caught.exception.status), ("no_daemon", 0))

    def test_somebody_else_on_the_socket_is_told_apart(self) -> None:
        strange = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        with somebody_else(strange + b"hi", strange + b"{}", b"") as path:
            for what in ("not authd.*AUTHD_SOCKET", "not authd", "broke off"):
                with self.assertRaisesRegex(AuthdError, what):
                    Authd(path).headers()

    @unittest.skipUnless(os.geteuid() == 0, "only root can change its user for a moment")
    def test_nothing_is_sent_to_another_users_listener(self) -> None:
        with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as other:
            os.chmod(place, 0o777)
            path = os.path.join(place, "other.sock")
            os.seteuid(65534)
            try:
                other.bind(path)
                other.listen()
            finally:
                os.seteuid(0)
            authd = Authd(path)
            for ask in (authd.headers, authd.login, lambda: authd.relay().connection(30).request("GET", "/")):
                with self.assertRaisesRegex(AuthdError, "another user .uid 65534.*AUTHD_SOCKET") as caught:
                    ask()
                self.assertEqual(caught.exception.code, "forbidden")
                client, _ = other.accept()
                with client:
                    self.assertEqual(client.recv(1), b"")

    def test_a_rejection_names_the_grant_if_authd_tells_one(self) -> None:
        heard: List[bytes] = []
        body = {"profile": "work", "mode": "chatgpt", "base_url": "", "responses_url": "", "headers": []}
        old, new = dict(body, generation=7), dict(body, generation=7, grant_id="g1")
        done = answer({"name": "work"})
        with somebody_else(answer(new), done, answer(old), done, done, heard=heard) as path:
            authd = Authd(path)
            authd.rejected(authd.headers())
            authd.rejected(authd.headers())
            authd.rejected(7, "home")
        said = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in heard if b"POST" in request]
        told = {"rejected_generation": 7}
        self.assertEqual(said, [dict(told, grant_id="g1"), told, told])
        paths = [request.split()[1] for request in heard if b"POST" in request]
        self.assertEqual(paths, [b"/v1/profiles/%s/refresh" % name for name in (b"work", b"work", b"home")])

    def test_an_answer_is_read_though_the_body_was_not(self) -> None:
        with somebody_else(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno", b"") as path:
            base = Authd(path).relay()
            connection = base.connection(timeout=30)
            connection.request("POST", base.base_path + "/responses", b"x" * (8 << 20))
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.read()), (413, b"no"))
            connection.close()
            # Where there is no answer, that is told.
            connection.request("POST", base.base_path + "/responses", b"x" * (8 << 20))
            with self.assertRaises(OSError):
                connection.getresponse()
            connection.close()

    def test_a_socket_that_no_system_takes_is_refused_at_once(self) -> None:
        for path, what in (
            ("authd.sock", "must be absolute: authd.sock .*AUTHD_SOCKET"),
            ("/" + "\u00fc" * 52, "105 bytes long, and the system allows 103.*AUTHD_SOCKET"),
        ):
            with mock.patch.dict(os.environ, {"AUTHD_SOCKET": path}), self.assertRaisesRegex(AuthdError, what):
                Authd()
            with self.assertRaisesRegex(AuthdError, what):
                Authd(path)
        self.assertEqual(Authd("/" + "x" * 102).socket_path, "/" + "x" * 102)

    def test_the_socket_is_where_the_environment_says(self) -> None:
        xdg = {"XDG_RUNTIME_DIR": "/run/u", "XDG_CACHE_HOME": "/c"}
        for platform, env, expected in (
            ("linux", {"AUTHD_SOCKET": "/a/b", "XDG_RUNTIME_DIR": "/run/u"}, "/a/b"),
            ("linux", {"AUTHD_SOCKET": "", "XDG_RUNTIME_DIR": "/run/u"}, "/run/u/authd/authd.sock"),
            ("linux", {"XDG_CACHE_HOME": "/c", "XDG_RUNTIME_DIR": "relative"}, "/c/authd/authd.sock"),
            ("linux", {"HOME": "/home/me"}, "/home/me/.cache/authd/authd.sock"),
            ("darwin", {"AUTHD_SOCKET": "/a/b", "HOME": "/Users/me"}, "/a/b"),
            ("darwin", {"HOME": "/Users/me", **xdg}, "/Users/me/Library/Caches/authd/authd.sock"),
        ):
            with mock.patch.dict(os.environ, env, clear=True), mock.patch("sys.platform", platform):
                self.assertEqual(default_socket(), expected)


@contextlib.contextmanager
def somebody_else(*answers: bytes, heard: Optional[List[bytes]] = None) -> Iterator[str]:
    """A socket on which somebody says these, one to each client, and reads no more than the beginning."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as other:
        path = os.path.join(place, "other.sock")
        other.bind(path)
        other.listen()

        def answer() -> None:
            for said in answers:
                client, _ = other.accept()
                request = client.recv(65536)
                # The body may come in a piece of its own.
                if request.startswith(b"POST") and request.endswith(b"\r\n\r\n") and heard is not None:
                    request += client.recv(65536)
                if heard is not None:
                    heard.append(request)
                client.sendall(said)
                client.close()

        threading.Thread(target=answer, daemon=True).start()
        yield path


def answer(body: Any) -> bytes:
    """An answer as authd gives it."""
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nAuthd-Version: 1\r\nContent-Length: %d\r\n\r\n" % len(text) + text


def open_page(url: str) -> None:
    """Plays the browser; a page that tells of a refusal is a page, too."""
    try:
        urllib.request.urlopen(url, timeout=30).close()
    except urllib.error.HTTPError as page:
        page.close()


def said(stream: bytes) -> str:
    """The text of a streamed answer."""
    lines = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


if __name__ == "__main__":
    unittest.main()
