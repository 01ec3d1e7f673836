// The OpenAI SDK for Node with `authctl token` as its API key, straight to the provider.

import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";

import OpenAI from "openai";

const run = promisify(execFile);
const authctl = async (...args) => (await run("authctl", args)).stdout.trim();

// In ChatGPT mode the backend wants to know the account, too: everything but the token goes in as it is.
const { headers } = JSON.parse(await authctl("headers", "--json"));
const others = Object.fromEntries(headers.filter(([name]) => name !== "Authorization"));

const client = new OpenAI({
  baseURL: await authctl("url"),
  defaultHeaders: others,
  // A function: the SDK calls it before every request, so that a long-lived client never holds a stale token.
  apiKey: () => authctl("token"),
});

// What the ChatGPT mode asks for and the API-key mode allows: instructions, a list as input, no store, a stream.
const events = await client.responses.create({
  model: "gpt-5.5",
  instructions: "Be brief.",
  input: [{ role: "user", content: "What is 2+2?" }],
  store: false,
  stream: true,
});
for await (const event of events) {
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
}
console.log();
