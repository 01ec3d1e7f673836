"""LangChain without a word about authd: authctl exec -- python exec_langchain.py"""

from langchain_openai import ChatOpenAI

# ChatGPT mode requires the Responses API, instructions, no store, and a stream. LangChain sends a
# system message as an input item, which does not replace the instructions.
model = ChatOpenAI(
    model="gpt-5.5",
    use_responses_api=True,
    streaming=True,
    store=False,
    model_kwargs={"instructions": "Be brief."},
)
print(model.invoke("What is 2+2?").text)
