// A smart HTTP server of git on loopback: `git http-backend` behind a check of the token, by
// introspection (RFC 7662). Prints its URL when it listens.
// Usage: node git_server.mjs DIRECTORY INTROSPECTION_URL

import { spawn } from "node:child_process";
import { createServer } from "node:http";

const [directory, introspection] = process.argv.slice(2);

// git sends a token as a password, unless its credential helper names a scheme.
const tokenOf = (header = "") => {
  const [scheme, value] = header.split(" ");
  return scheme === "Basic" ? Buffer.from(value, "base64").toString().split(/:(.*)/)[1] : value;
};

const isActive = async (token) => {
  const response = await fetch(introspection, {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from("resource-server:secret").toString("base64")}` },
    body: new URLSearchParams({ token }),
  });
  return (await response.json()).active === true;
};

const server = createServer(async (request, response) => {
  const token = tokenOf(request.headers.authorization);
  const isAllowed = Boolean(token) && (await isActive(token));
  if (!isAllowed) {
    return response.writeHead(401, { "www-authenticate": ["Bearer", 'Basic realm="git"'] }).end();
  }
  const { pathname, search } = new URL(request.url, "http://localhost");
  const backend = spawn("git", ["http-backend"], {
    env: {
      ...process.env,
      GIT_PROJECT_ROOT: directory,
      GIT_HTTP_EXPORT_ALL: "1",
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      REQUEST_METHOD: request.method,
      REMOTE_USER: "git",
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      GIT_PROTOCOL: request.headers["git-protocol"] ?? "",
    },
  });
  request.pipe(backend.stdin);
  const output = Buffer.concat(await backend.stdout.toArray());
  const end = output.indexOf("\r\n\r\n");
  const fields = output.subarray(0, end).toString().split("\r\n").map((line) => line.split(/: (.*)/, 2));
  const status = fields.find(([name]) => name === "Status")?.[1] ?? "200";
  response.writeHead(parseInt(status), fields.filter(([name]) => name !== "Status").flat());
  response.end(output.subarray(end + 4));
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
