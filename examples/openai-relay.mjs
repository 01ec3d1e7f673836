// The OpenAI SDK for Node through the relay: no token leaves authd.

import process from "node:process";

import OpenAI from "openai";
import { Agent, fetch } from "undici";

const runtime = process.env.XDG_RUNTIME_DIR || `/run/user/${process.getuid()}`;
const socketPath = process.env.AUTHD_SOCKET || `${runtime}/authd/authd.sock`;
const profile = process.env.AUTHCTL_PROFILE ?? "-"; // "-" is the default profile

const client = new OpenAI({
  baseURL: `http://authd/v1/profiles/${profile}/relay`,
  // The dispatcher needs the fetch of undici. An alternative is `new Authd().relay().fetch`.
  fetch,
  fetchOptions: { dispatcher: new Agent({ connect: { socketPath } }) },
  apiKey: "unused", // the SDK requires one; the relay replaces it by the real one
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
