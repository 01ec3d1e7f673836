// undici through the relay: its Agent supports Unix sockets, and its fetch takes the Agent.

import process from "node:process";

import { Agent, fetch } from "undici";

const runtime = process.env.XDG_RUNTIME_DIR || `/run/user/${process.getuid()}`;
const socketPath = process.env.AUTHD_SOCKET || `${runtime}/authd/authd.sock`;
const profile = process.env.AUTHCTL_PROFILE ?? "-"; // "-" is the default profile

const response = await fetch(`http://authd/v1/profiles/${profile}/relay/responses`, {
  dispatcher: new Agent({ connect: { socketPath } }),
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({
    model: "gpt-5.5",
    instructions: "Be brief.",
    input: [{ type: "message", role: "user", content: [{ type: "input_text", text: "What is 2+2?" }] }],
    store: false,
    stream: true,
  }),
});
if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
for await (const text of response.body.pipeThrough(new TextDecoderStream())) process.stdout.write(text);
