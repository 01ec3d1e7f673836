"""The OpenAI SDK for Python through the relay: no token leaves authd."""

import os

import httpx2  # SDKs before 3.0 use httpx: the same names, without the 2
from openai import OpenAI

RUNTIME = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
SOCKET = os.environ.get("AUTHD_SOCKET") or f"{RUNTIME}/authd/authd.sock"
PROFILE = os.environ.get("AUTHCTL_PROFILE", "-")  # "-" is the default profile

client = OpenAI(
    base_url=f"http://authd/v1/profiles/{PROFILE}/relay",
    http_client=httpx2.Client(transport=httpx2.HTTPTransport(uds=SOCKET)),
    api_key="unused",  # the SDK requires one; the relay replaces it by the real one
)

# Required in ChatGPT mode, accepted in API-key mode: instructions, list input, no store, stream.
events = client.responses.create(
    model="gpt-5.5",
    instructions="Be brief.",
    input=[{"role": "user", "content": "What is 2+2?"}],
    store=False,
    stream=True,
)
for event in events:
    if event.type == "response.output_text.delta":
        print(event.delta, end="", flush=True)
print()
