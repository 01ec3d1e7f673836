"""The OpenAI SDK for Python without a word about authd: authctl exec -- python exec_openai.py"""

from openai import OpenAI

# ChatGPT mode requires instructions, a list as input, no store, and a stream.
with OpenAI().responses.stream(
    model="gpt-5.5",
    instructions="Be brief.",
    input=[{"role": "user", "content": "What is 2+2?"}],
    store=False,
) as events:
    for event in events:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
print()
