"""The OpenAI SDK for Python with `authctl token` as its API key, directly to the provider."""

import json
import subprocess

from openai import OpenAI


def authctl(*arguments: str) -> str:
    return subprocess.run(["authctl", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


# ChatGPT mode requires the other headers, too: all but the token are the default headers.
ready = json.loads(authctl("headers", "--json"))
others = {name: value for name, value in ready["headers"] if name != "Authorization"}

client = OpenAI(
    base_url=authctl("url"),
    default_headers=others,
    # The SDK calls this function before every request, so the token is always fresh.
    api_key=lambda: authctl("token"),
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
