// Signs in to the MCP server of a scenario as a user does, and runs the client that knows no OAuth.
// The conformance suite runs this file with the URL of the server, and the scenario in the
// environment.

import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";

const url = process.argv[2];
// The name of a provider has at most 32 characters.
const profile = basename(process.env.MCP_CONFORMANCE_SCENARIO).replace("2025-03-26-", "");
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");

const options = ["--client-metadata-url", "https://conformance-test.local/client-metadata.json"];
if (context.client_id) {
  const secret = join(mkdtempSync(join(process.env.HOME, "secret-")), "secret");
  writeFileSync(secret, context.client_secret, { mode: 0o600 });
  options.splice(0, 2, "--client-id", context.client_id, "--client-secret-file", secret);
}
execFileSync("authctl", ["mcp", "add", profile, url, ...options], { stdio: "inherit" });
process.argv.splice(2, 1, url, profile);
await import("./examples/mcp-client.mjs");
