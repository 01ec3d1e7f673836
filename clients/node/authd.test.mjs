/**
 * Tests of the client against a real daemon: the one on $AUTHD_SOCKET, where `default` and `work` are signed in.
 * Run them with `cargo xtask test ways`, which brings up such a daemon with a stand-in for OpenAI behind it.
 */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";

import { Authd, AuthdError, NoDaemon, defaultSocket } from "./authd.mjs";

const authd = new Authd();
const QUESTION = JSON.stringify({
  model: "gpt-5.5",
  instructions: "Be brief.",
  input: [{ type: "message", role: "user", content: [{ type: "input_text", text: "What is 2+2?" }] }],
  store: false,
  stream: true,
});

test("headers are ready, and the default profile is the default", async () => {
  const ready = await authd.headers();
  assert.deepEqual([ready.profile, ready.mode], ["default", "chatgpt"]);
  assert.equal(ready.responsesUrl, `${ready.baseUrl}/responses`);
  assert.ok(new Headers(ready.headers).has("chatgpt-account-id"));

  const work = await authd.headers({ profile: "work", minTtl: 300 });
  assert.deepEqual([work.profile, work.mode, work.expiresAt], ["work", "api-key", null]);
});

test("the token is the headers' token", async () => {
  const token = await authd.token({ profile: "work" });
  const { headers } = await authd.headers({ profile: "work" });
  assert.equal(new Headers(headers).get("authorization"), `Bearer ${token}`);
});

test("the headers are good for a question", async () => {
  for (const profile of ["default", "work"]) {
    const { headers, responsesUrl } = await authd.headers({ profile });
    const sent = [...headers, ["content-type", "application/json"]];
    const response = await fetch(responsesUrl, {
      method: "POST",
      headers: /** @type {[string, string][]} */ (sent),
      body: QUESTION,
    });
    assert.match(said(await response.text()), / 4/);
  }
});

test("the relay needs no token", async () => {
  for (const profile of [undefined, "work"]) {
    const relay = authd.relay(profile);
    const response = await relay.fetch(`${relay.url}/responses`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: QUESTION,
    });
    assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
    assert.match(said(await response.text()), / 4/);
  }
  assert.equal(authd.relay("work").url, "http://authd/v1/profiles/work/relay");
});

test("a relayed request can be called off", async () => {
  const relay = authd.relay();
  await assert.rejects(relay.fetch(`${relay.url}/models`, { signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("a rejected generation is refreshed once, however often it is said", async () => {
  const { generation } = await authd.headers();
  await Promise.all([1, 2, 3].map(() => authd.rejected(generation)));
  assert.equal((await authd.headers()).generation, generation + 1);
});

test("a login is started, shown and waited for", async () => {
  // The stand-in for OpenAI signs in whoever is named, without asking.
  const login = await authd.login({
    profile: "from-node",
    onStarted: (started) => fetch(`${started.authorizeUrl}&account=plus`),
  });
  assert.equal(login.state, "succeeded");
  assert.equal(login.result?.name, "from-node");
});

test("a login that nobody waits for can be waited for later", async () => {
  const login = await authd.login({ profile: "later", wait: false });
  assert.equal(login.state, "pending");
  await fetch(`${login.authorizeUrl}&decision=deny`);
  await assert.rejects(authd.wait(login.id), { name: "AuthdError", code: "login_denied" });
});

test("a refusal says what, and what to do", async () => {
  const refusal = { code: "profile_unknown", status: 404, message: /nobody.*authctl login nobody/ };
  await assert.rejects(authd.headers({ profile: "nobody" }), refusal);
  // A name that is none is refused by authd, and does not become another path.
  await assert.rejects(authd.headers({ profile: "../../v1/status" }), AuthdError);
});

test("nobody there is an error of its own", async () => {
  const nobody = new Authd("/nowhere/authd.sock");
  await assert.rejects(nobody.token(), (error) => error instanceof NoDaemon && error.code === "no_daemon");
  await assert.rejects(nobody.relay().fetch("http://authd/x"), NoDaemon);
});

test("somebody else on the socket is told apart", async () => {
  const place = await mkdtemp(path.join(os.tmpdir(), "authd-test-"));
  const socketPath = path.join(place, "other.sock");
  const answers = ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", ""];
  const other = net.createServer((client) => client.once("data", () => client.end(answers.shift() ?? "")));
  await new Promise((listening) => other.listen(socketPath, () => listening(undefined)));
  await assert.rejects(new Authd(socketPath).headers(), /not authd/);
  await assert.rejects(new Authd(socketPath).headers(), /broke off/);
  other.close();
  await rm(place, { recursive: true });
});

test("the socket is where the environment says", () => {
  const kept = { ...process.env };
  const at = (/** @type {Record<string, string>} */ env) => {
    for (const name of ["AUTHD_SOCKET", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"]) delete process.env[name];
    Object.assign(process.env, env);
    return defaultSocket();
  };
  try {
    assert.equal(at({ AUTHD_SOCKET: "/a/b", XDG_RUNTIME_DIR: "/run/u" }), "/a/b");
    if (process.platform === "linux") {
      assert.equal(at({ AUTHD_SOCKET: "", XDG_RUNTIME_DIR: "/run/u" }), "/run/u/authd/authd.sock");
      assert.equal(at({ XDG_RUNTIME_DIR: "relative", XDG_CACHE_HOME: "/c" }), "/c/authd/authd.sock");
    }
  } finally {
    Object.assign(process.env, kept);
  }
});

/**
 * The text of a streamed answer.
 *
 * @param {string} stream
 */
function said(stream) {
  const lines = stream.split("\n").filter((line) => line.startsWith("data: {"));
  const events = lines.map((line) => JSON.parse(line.slice(6)));
  return events.map(({ type, delta }) => (type === "response.output_text.delta" ? delta : "")).join("");
}
