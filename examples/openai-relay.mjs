// The OpenAI SDK for Node through the relay: no token leaves authd.

import process from "node:process";

import OpenAI from "openai";
import { Agent, fetch } from "undici";

const socketPath = process.env.AUTHD_SOCKET || `${process.env.XDG_RUNTIME_DIR}/authd/authd.sock`;
const profile = process.env.AUTHCTL_PROFILE ?? "-"; // "-" is the default profile

const client = new OpenAI({
  baseURL: `http://authd/v1/profiles/${profile}/relay`,
  // The dispatcher belongs to undici's own fetch. `new Authd().relay().fetch` of clients/node does as well.
  fetch,
  fetchOptions: { dispatcher: new Agent({ connect: { socketPath } }) },
  apiKey: "kept by authd", // the SDK wants one; the relay puts the real one in its place
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
