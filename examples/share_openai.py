"""The OpenAI SDK for Python as its own documentation uses it, without a word about authd:

authctl share --loopback --compat responses -- python share_openai.py
"""

from openai import OpenAI

client = OpenAI()

response = client.responses.create(model="gpt-5.5", input="What is 2+2?")
print(response.output_text)

for event in client.responses.create(model="gpt-5.5", input="What is 17+25?", stream=True):
    if event.type == "response.output_text.delta":
        print(event.delta, end="", flush=True)
print()

# The final response of a stream, with parameters that a personal plan does not accept.
with client.responses.stream(model="gpt-5.5", input="What is 6*7?", temperature=0, max_output_tokens=100) as stream:
    print(stream.get_final_response().output_text)
