"""The OpenAI SDK for Python through the relay: no token leaves authd."""

import os

import httpx2  # SDKs before 3.0 are built on httpx: the same words, without the 2
from openai import OpenAI

SOCKET = os.environ.get("AUTHD_SOCKET") or os.environ["XDG_RUNTIME_DIR"] + "/authd/authd.sock"
PROFILE = os.environ.get("AUTHCTL_PROFILE", "-")  # "-" is the default profile

client = OpenAI(
    base_url=f"http://authd/v1/profiles/{PROFILE}/relay",
    http_client=httpx2.Client(transport=httpx2.HTTPTransport(uds=SOCKET)),
    api_key="kept by authd",  # the SDK wants one; the relay puts the real one in its place
)

# What the ChatGPT mode asks for and the API-key mode allows: instructions, a list as input, no store, a stream.
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
