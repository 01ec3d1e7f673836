"""requests through the relay. It has no support for Unix sockets, so this file adds an adapter."""

import json
import os
import socket

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

RUNTIME = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
SOCKET = os.environ.get("AUTHD_SOCKET") or f"{RUNTIME}/authd/authd.sock"
PROFILE = os.environ.get("AUTHCTL_PROFILE", "-")  # "-" is the default profile


class UnixConnection(HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


class UnixPool(HTTPConnectionPool):
    ConnectionCls = UnixConnection


class UnixAdapter(HTTPAdapter):
    pool = UnixPool("authd")

    def get_connection_with_tls_context(self, request, verify, proxies=None, cert=None):
        return self.pool

    def request_url(self, request, proxies):
        return request.path_url  # without the proxy of the environment


authd = requests.Session()
authd.mount("http://authd/", UnixAdapter())

QUESTION = {
    "model": "gpt-5.5",
    "instructions": "Be brief.",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}],
    "store": False,
    "stream": True,
}
url = f"http://authd/v1/profiles/{PROFILE}/relay/responses"
with authd.post(url, json=QUESTION, stream=True, timeout=60) as response:
    response.raise_for_status()
    for line in response.iter_lines():
        if line.startswith(b"data: {"):
            event = json.loads(line[len("data: ") :])
            if event["type"] == "response.output_text.delta":
                print(event["delta"], end="", flush=True)
print()
