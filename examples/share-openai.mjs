// The OpenAI SDK for Node as its own documentation uses it, without a word about authd:
// authctl share --loopback --compat responses -- node share-openai.mjs

import process from "node:process";

import OpenAI from "openai";

const client = new OpenAI();

const response = await client.responses.create({ model: "gpt-5.5", input: "What is 2+2?" });
console.log(response.output_text);

const events = await client.responses.create({ model: "gpt-5.5", input: "What is 17+25?", stream: true });
for await (const event of events) {
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
}
console.log();

// The final response of a stream, with parameters that a personal plan does not accept.
const stream = client.responses.stream({ model: "gpt-5.5", input: "What is 6*7?", temperature: 0, max_output_tokens: 100 });
console.log((await stream.finalResponse()).output_text);
