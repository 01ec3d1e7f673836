// The OpenAI SDK for Node without a word about authd: authctl exec -- node exec-openai.mjs

import process from "node:process";

import OpenAI from "openai";

// ChatGPT mode requires instructions, a list as input, no store, and a stream.
const events = new OpenAI().responses.stream({
  model: "gpt-5.5",
  instructions: "Be brief.",
  input: [{ role: "user", content: "What is 2+2?" }],
  store: false,
});
for await (const event of events) {
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
}
console.log();
