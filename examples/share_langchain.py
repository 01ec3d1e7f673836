"""LangChain without a word about authd:

authctl share --loopback --compat responses -- python share_langchain.py
"""

from langchain_openai import ChatOpenAI

# Chat Completions, which is the default of LangChain, exists in API-key mode only.
model = ChatOpenAI(model="gpt-5.5", use_responses_api=True, temperature=0)

print(model.invoke([("system", "Be brief."), ("user", "What is 2+2?")]).text)

for chunk in model.stream("What is 17+25?"):
    print(chunk.text, end="", flush=True)
print()
