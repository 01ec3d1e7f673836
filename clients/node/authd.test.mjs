/**
 * Tests of the client with a real daemon: the one on $AUTHD_SOCKET, with the profiles `default` and
 * `work`. Run them with `cargo xtask test ways`, which starts the daemon and a sandbox provider.
 */

import assert from "node:assert/strict";
import { chmod, chown, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
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

test("headers are ready to use, and the profile defaults to the default one", async () => {
  const ready = await authd.headers();
  assert.deepEqual([ready.profile, ready.mode], ["default", "chatgpt"]);
  assert.equal(ready.responsesUrl, `${ready.baseUrl}/responses`);
  assert.ok(new Headers(ready.headers).has("chatgpt-account-id"));

  const work = await authd.headers({ profile: "work", minTtl: 300 });
  assert.deepEqual([work.profile, work.mode, work.expiresAt], ["work", "api-key", null]);
});

test("the token is the one in the headers", async () => {
  const token = await authd.token({ profile: "work" });
  const { headers } = await authd.headers({ profile: "work" });
  assert.equal(new Headers(headers).get("authorization"), `Bearer ${token}`);
});

test("the provider accepts the headers", async () => {
  for (const profile of ["default", "work"]) {
    const { headers, responsesUrl } = await authd.headers({ profile });
    const sent = [...headers, ["content-type", "application/json"]];
    const response = await fetch(responsesUrl, {
      method: "POST",
      headers: /** @type {[string, string][]} */ (sent),
      body: QUESTION,
    });
    assert.match(answerText(await response.text()), / 4/);
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
    assert.match(answerText(await response.text()), / 4/);
  }
  assert.equal(authd.relay("work").url, "http://authd/v1/profiles/work/relay");
});

test("a relayed request can be aborted", async () => {
  const relay = authd.relay();
  await assert.rejects(relay.fetch(`${relay.url}/models`, { signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("several reports of a rejected generation cause one refresh", async () => {
  const ready = await authd.headers();
  const { generation } = ready;
  await Promise.all([ready, ready, generation].map((refused) => authd.rejected(refused)));
  assert.equal((await authd.headers()).generation, generation + 1);
});

test("login calls onStarted and waits for the end", async () => {
  // The sandbox signs in the named account without a password.
  const login = await authd.login({
    profile: "from-node",
    onStarted: (started) => fetch(`${started.authorizeUrl}&account=plus`),
  });
  assert.equal(login.state, "succeeded");
  assert.equal(login.result?.name, "from-node");
});

test("a login started without waiting can be waited for later", async () => {
  const login = await authd.login({ profile: "later", wait: false });
  assert.equal(login.state, "pending");
  await fetch(`${login.authorizeUrl}&decision=deny`);
  await assert.rejects(authd.wait(login.id), { name: "AuthdError", code: "login_denied" });
});

test("an error has a code, a reason and a hint", async () => {
  const refusal = { code: "profile_unknown", status: 404, message: /nobody.*there are: default/ };
  await assert.rejects(authd.headers({ profile: "nobody" }), refusal);
  // authd rejects an invalid name; it does not become another path.
  await assert.rejects(authd.headers({ profile: "../../v1/status" }), AuthdError);
});

test("a missing daemon is a NoDaemon error", async () => {
  const noDaemon = new Authd("/nowhere/authd.sock");
  await assert.rejects(noDaemon.token(), (error) => error instanceof NoDaemon && error.code === "no_daemon");
  await assert.rejects(noDaemon.relay().fetch("http://authd/x"), NoDaemon);
});

test("a stale and an absent socket are told apart", async () => {
  const directory = await mkdtemp(path.join(os.tmpdir(), "authd-test-"));
  try {
    const socketPath = path.join(directory, "authd.sock");
    await assert.rejects(new Authd(socketPath).token(), { name: "NoDaemon", message: /does not exist/ });
    await writeFile(socketPath, "");
    await assert.rejects(new Authd(socketPath).token(), { name: "NoDaemon", message: /left the socket behind/ });
    const below = path.join(socketPath, "below-a-file");
    await assert.rejects(new Authd(below).token(), { name: "NoDaemon", message: /does not exist/ });
    const loop = path.join(directory, "loop");
    await symlink(loop, loop);
    await assert.rejects(new Authd(loop).token(), { code: "internal", message: /cannot connect to/ });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("another program on the socket is an error", async () => {
  const foreign = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
  await withServer([`${foreign}hi`, `${foreign}{}`, ""], async (socketPath) => {
    await assert.rejects(new Authd(socketPath).headers(), /not authd.*AUTHD_SOCKET/);
    await assert.rejects(new Authd(socketPath).headers(), /not authd/);
    await assert.rejects(new Authd(socketPath).headers(), /connection to authd broke/);
  });
});

test("every request body has a length", async () => {
  const noContent = "HTTP/1.1 204 No Content\r\n\r\n";
  const methods = ["POST", "PATCH", "DELETE", "OPTIONS"];
  await withServer(methods.map(() => noContent), async (socketPath, requests) => {
    const relay = new Authd(socketPath).relay();
    for (const method of methods) {
      await relay.fetch(`${relay.url}/things`, { method, body: "héllo" });
      assert.match(requests.at(-1) ?? "", /^content-length: 6\r$/im, method);
      assert.doesNotMatch(requests.at(-1) ?? "", /transfer-encoding/i, method);
    }
  });
});

test("nothing is sent to a socket that another user may have created", async () => {
  await withServer([], async (socketPath, requests) => {
    const directory = path.dirname(socketPath);
    const assertRefused = (/** @type {RegExp} */ message) => Promise.all([
      assert.rejects(new Authd(socketPath).headers(), { code: "forbidden", message }),
      assert.rejects(new Authd(socketPath).relay().fetch("http://authd/x"), { code: "forbidden", message }),
    ]);
    await chmod(directory, 0o777);
    await assertRefused(/may be served by another user.*writable by others.*AUTHD_SOCKET/);
    await chmod(directory, 0o700);
    // Only root can change the owner of a file.
    if (process.geteuid?.() === 0) {
      for (const at of [socketPath, directory]) {
        await chown(at, 65534, 65534);
        await assertRefused(/belongs to uid 65534, not to uid 0.*AUTHD_SOCKET/);
        await chown(at, 0, 0);
      }
    }
    assert.deepEqual(requests, []);
  });
  const open = await mkdtemp(path.join(os.tmpdir(), "authd-test-"));
  try {
    const own = path.join(open, "own");
    await mkdir(own, 0o700);
    await chmod(open, 0o777);
    const other = net.createServer().listen(path.join(own, "other.sock"));
    await assert.rejects(new Authd(path.join(own, "other.sock")).token(), { code: "forbidden" });
    await chmod(open, 0o1777);
    other.once("connection", (client) => client.end());
    await assert.rejects(new Authd(path.join(own, "other.sock")).token(), /connection to authd broke/);
    other.close();
  } finally {
    await rm(open, { recursive: true });
  }
});

test("a rejection contains the grant id if authd sends one", async () => {
  const response = (/** @type {object} */ body) => {
    const text = JSON.stringify(body);
    return `HTTP/1.1 200 OK\r\nAuthd-Version: 1\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
  };
  const ready = { profile: "work", mode: "chatgpt", base_url: "", responses_url: "", headers: [], generation: 7 };
  const done = response({ name: "work" });
  const responses = [response({ ...ready, grant_id: "g1" }), done, response(ready), done, done];
  await withServer(responses, async (socketPath, requests) => {
    const client = new Authd(socketPath);
    await client.rejected(await client.headers());
    await client.rejected(await client.headers());
    await client.rejected(7, "home");
    const posts = requests.filter((request) => request.startsWith("POST"));
    const bodies = posts.map((request) => JSON.parse(request.split("\r\n\r\n")[1] ?? ""));
    const expected = { rejected_generation: 7 };
    assert.deepEqual(bodies, [{ ...expected, grant_id: "g1" }, expected, expected]);
    assert.deepEqual(posts.map((request) => request.split("/")[3]), ["work", "work", "home"]);
  });
});

test("the response is read even if the server does not read the body", async () => {
  const tooLarge = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
  await withServer([tooLarge, ""], async (socketPath) => {
    const relay = new Authd(socketPath).relay();
    const long = { method: "POST", body: "x".repeat(8 << 20) };
    const response = await relay.fetch(`${relay.url}/responses`, long);
    assert.deepEqual([response.status, await response.text()], [413, "no"]);
    // No response is an error.
    await assert.rejects(relay.fetch(`${relay.url}/responses`, long));
  });
});

test("an invalid socket path is an error at once", () => {
  assert.throws(() => new Authd("authd.sock"), { code: "bad_request", message: /must be absolute.*AUTHD_SOCKET/ });
  const long = `/${"ü".repeat(52)}`;
  assert.throws(() => new Authd(long), { code: "bad_request", message: /105 bytes long.*103.*AUTHD_SOCKET/ });
  assert.equal(new Authd(`/${"x".repeat(102)}`).socketPath.length, 103);
});

test("the environment determines the default socket", () => {
  const linux = (/** @type {Record<string, string>} */ env) =>
    defaultSocket({ env, platform: "linux", home: "/home/me", session: "" });
  assert.equal(linux({ AUTHD_SOCKET: "/a/b", XDG_RUNTIME_DIR: "/run/u" }), "/a/b");
  assert.equal(linux({ AUTHD_SOCKET: "", XDG_RUNTIME_DIR: "/run/u" }), "/run/u/authd/authd.sock");
  assert.equal(linux({ XDG_RUNTIME_DIR: "relative", XDG_CACHE_HOME: "/c" }), "/c/authd/authd.sock");
  assert.equal(linux({}), "/home/me/.cache/authd/authd.sock");
  const session = { env: {}, platform: /** @type {NodeJS.Platform} */ ("linux"), home: "/home/me", session: "/run/user/7" };
  assert.equal(defaultSocket(session), "/run/user/7/authd/authd.sock");
  const darwin = (/** @type {Record<string, string>} */ env) =>
    defaultSocket({ env, platform: "darwin", home: "/Users/me" });
  assert.equal(darwin({ AUTHD_SOCKET: "/a/b" }), "/a/b");
  const xdg = { XDG_RUNTIME_DIR: "/run/u", XDG_CACHE_HOME: "/c" };
  assert.equal(darwin(xdg), "/Users/me/Library/Caches/authd/authd.sock");
  assert.equal(authd.socketPath, process.env.AUTHD_SOCKET);
});

/**
 * Runs a function with a server that reads the first part of each request and sends these
 * responses.
 *
 * @param {string[]} responses
 * @param {(socketPath: string, requests: string[]) => Promise<void>} run
 */
async function withServer(responses, run) {
  const directory = await mkdtemp(path.join(os.tmpdir(), "authd-test-"));
  const socketPath = path.join(directory, "other.sock");
  /** @type {string[]} */
  const requests = [];
  const other = net.createServer((client) => {
    client.once("data", (request) => {
      requests.push(request.toString());
      client.pause();
      client.end(responses[requests.length - 1] ?? "", () => client.destroy());
    });
  });
  await new Promise((listening) => other.listen(socketPath, () => listening(undefined)));
  try {
    await run(socketPath, requests);
  } finally {
    other.close();
    await rm(directory, { recursive: true });
  }
}

/**
 * The text of a streamed response.
 *
 * @param {string} stream
 */
function answerText(stream) {
  const lines = stream.split("\n").filter((line) => line.startsWith("data: {"));
  const events = lines.map((line) => JSON.parse(line.slice(6)));
  return events.map(({ type, delta }) => (type === "response.output_text.delta" ? delta : "")).join("");
}
