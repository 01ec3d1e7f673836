"""The OpenAI SDK for Python with `authctl token` as its API key, straight to the provider."""

import json
import subprocess

from openai import OpenAI


def authctl(*arguments: str) -> str:
    return subprocess.run(["authctl", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


# In ChatGPT mode the backend wants to know the account, too: everything but the token goes in as it is.
ready = json.loads(authctl("headers", "--json"))
others = {name: value for name, value in ready["headers"] if name != "Authorization"}

client = OpenAI(
    base_url=authctl("url"),
    default_headers=others,
    # A function: the SDK calls it before every request, so that a long-lived client never holds a stale token.
    api_key=lambda: authctl("token"),
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
