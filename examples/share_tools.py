"""Function calls with the OpenAI SDK, without a word about authd:

authctl share --loopback --compat responses -- python share_tools.py
"""

import json

from openai import OpenAI

TOOLS = [
    {
        "type": "function",
        "name": "calculate",
        "description": "Adds two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "for example 1 + 2"}},
            "required": ["expression"],
            "additionalProperties": False,
        },
        "strict": True,
    }
]

client = OpenAI()
items = [{"role": "user", "content": "What is 2+2?"}]
response = client.responses.create(model="gpt-5.5", input=items, tools=TOOLS, tool_choice="required")
call = next(item for item in response.output if item.type == "function_call")

expression = json.loads(call.arguments)["expression"]
left, right = expression.split("+")
result = f"{expression} = {int(left) + int(right)}"

# The output of a response, with its reasoning, is a part of the next input.
items += response.output
items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
response = client.responses.create(model="gpt-5.5", input=items, tools=TOOLS)
print(response.output_text)
