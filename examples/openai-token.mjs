// The OpenAI SDK for Node with `authctl token` as its API key, directly to the provider.

import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";

import OpenAI from "openai";

const run = promisify(execFile);
const authctl = async (...args) => (await run("authctl", args)).stdout.trim();

// ChatGPT mode requires the other headers, too: all but the token are the default headers.
const { headers } = JSON.parse(await authctl("headers", "--json"));
const others = Object.fromEntries(headers.filter(([name]) => name !== "Authorization"));

const client = new OpenAI({
  baseURL: await authctl("url"),
  defaultHeaders: others,
  // The SDK calls this function before every request, so the token is always fresh.
  apiKey: () => authctl("token"),
});

// Required in ChatGPT mode, accepted in API-key mode: instructions, list input, no store, stream.
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
