"""httpx through the relay, with its option `uds`."""

import json
import os

import httpx

RUNTIME = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
SOCKET = os.environ.get("AUTHD_SOCKET") or f"{RUNTIME}/authd/authd.sock"
PROFILE = os.environ.get("AUTHCTL_PROFILE", "-")  # "-" is the default profile

QUESTION = {
    "model": "gpt-5.5",
    "instructions": "Be brief.",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}],
    "store": False,
    "stream": True,
}

relay = httpx.Client(
    transport=httpx.HTTPTransport(uds=SOCKET),
    base_url=f"http://authd/v1/profiles/{PROFILE}/relay",
    timeout=60,
)
with relay, relay.stream("POST", "/responses", json=QUESTION) as response:
    response.raise_for_status()
    for line in response.iter_lines():
        if line.startswith("data: {"):
            event = json.loads(line[len("data: ") :])
            if event["type"] == "response.output_text.delta":
                print(event["delta"], end="", flush=True)
print()
