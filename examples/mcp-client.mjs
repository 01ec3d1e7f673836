// An MCP client without OAuth: authctl gives the header. If the server wants more scopes, the user
// signs in again, at most once a request. Usage: node mcp-client.mjs URL PROFILE

import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, profile] = process.argv.slice(2);
const run = promisify(execFile);
const authctl = async (...args) => (await run("authctl", [...args, "--profile", profile])).stdout;

const send = async (target, init) => {
  const headers = new Headers(init?.headers);
  for (const line of (await authctl("headers")).trim().split("\n")) headers.set(...line.split(/: (.*)/, 2));
  return fetch(target, { ...init, headers });
};

const fetchWithAuthd = async (target, init) => {
  const response = await send(target, init);
  const challenge = response.headers.get("www-authenticate") ?? "";
  if (response.status !== 403 || !challenge.includes('error="insufficient_scope"')) return response;
  const scopes = /\bscope="([^"]+)"/.exec(challenge)?.[1].split(" ") ?? [];
  await authctl("refresh", ...scopes.flatMap((scope) => ["--missing-scope", scope]));
  await authctl("login");
  return send(target, init);
};

const client = new Client({ name: "example", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch: fetchWithAuthd }));
const { tools } = await client.listTools();
for (const { name } of tools) {
  const { content } = await client.callTool({ name, arguments: {} });
  console.log(name, JSON.stringify(content));
}
await client.close();
