// The fetch of Node with ready headers, directly to the provider; no dependency.

import process from "node:process";

import { Authd } from "../clients/node/authd.mjs";

const authd = new Authd();
const profile = process.env.AUTHCTL_PROFILE; // undefined is the default profile

const ask = async () => {
  // Before every request: a cached token expires.
  const ready = await authd.headers({ profile });
  const response = await fetch(ready.responsesUrl, {
    method: "POST",
    headers: [...ready.headers, ["Content-Type", "application/json"]],
    body: JSON.stringify({
      model: "gpt-5.5",
      instructions: "Be brief.",
      input: [{ type: "message", role: "user", content: [{ type: "input_text", text: "What is 2+2?" }] }],
      store: false,
      stream: true,
    }),
  });
  return { response, ready };
};

let { response, ready } = await ask();
if (response.status === 401) {
  // Several programs may report the same headers: authd refreshes once.
  await authd.rejected(ready, profile);
  ({ response } = await ask());
}
if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
console.log(await response.text());
