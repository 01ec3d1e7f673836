// npm oidc-provider on loopback. Refresh tokens rotate, and the second use of one revokes its
// grant. Prints its metadata in one line when it listens, then a line for each event. The argument
// is JSON: the lifetime of access tokens in seconds, and whether pushed authorization requests are
// required.
//
// Behind /mcp is an MCP server that requires a token for itself. A request to /forget with a token
// ends this token early, and keeps its grant; a revocation would end both.
import { createServer } from "node:http";

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { Provider, errors } from "oidc-provider";

import { Store } from "./oidc_store.mjs";

// The provider's remarks on its configuration are not for stdout.
console.info = console.error;

const { lifetime = 3600, requirePushed = false } = JSON.parse(process.argv[2] ?? "{}");

const EVENTS = [
  "authorization.error",
  "authorization.success",
  "device_authorization.success",
  "device_code.saved",
  "access_token.saved",
  "access_token.destroyed",
  "refresh_token.saved",
  "refresh_token.consumed",
  "refresh_token.destroyed",
  "grant.success",
  "grant.error",
  "grant.revoked",
  "pushed_authorization_request.success",
  "pushed_authorization_request.error",
  "registration_create.success",
  "registration_create.error",
  "revocation.error",
  "introspection.error",
  "userinfo.error",
  "server_error",
];

const client = (client_id, token_endpoint_auth_method, other) => ({
  client_id,
  token_endpoint_auth_method,
  // A secret that form encoding changes (RFC 6749, section 2.3.1).
  ...(token_endpoint_auth_method !== "none" && { client_secret: "p+s:%/&= t" }),
  application_type: "native",
  redirect_uris: ["http://127.0.0.1/callback"],
  grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
  ...other,
});

// The MCP server, with a tool that names the user.
const answer = async (user, request, response) => {
  const mcp = new McpServer({ name: "example", version: "1.0.0" });
  mcp.registerTool("whoami", {}, () => ({ content: [{ type: "text", text: user }] }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await mcp.connect(transport);
  await transport.handleRequest(request, response);
};

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const server = createServer();
server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const resource = `${issuer}/mcp`;
  const provider = new Provider(issuer, {
    adapter: Store,
    clients: [
      client("public", "none"),
      client("basic", "client_secret_basic"),
      client("post", "client_secret_post"),
      // Introspects the tokens of the others, as a mail server does.
      client("resource-server", "client_secret_basic", {
        client_secret: "secret",
        grant_types: [],
        redirect_uris: [],
        response_types: [],
      }),
    ],
    scopes: ["openid", "offline_access", "email"],
    claims: { openid: ["sub"], email: ["email"] },
    conformIdTokenClaims: false,
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, email: `${sub}@example.com` }) }),
    rotateRefreshToken: true,
    issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token"),
    ttl: { AccessToken: lifetime },
    features: {
      deviceFlow: { enabled: true },
      introspection: { enabled: true },
      registration: { enabled: true },
      revocation: { enabled: true },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: requirePushed },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, indicator) => {
          if (indicator !== resource) throw new errors.InvalidTarget();
          return { scope: "tools", audience: resource, accessTokenTTL: lifetime, accessTokenFormat: "opaque" };
        },
        useGrantedResource: () => false,
      },
    },
  });
  for (const event of EVENTS) {
    provider.on(event, (...parts) => {
      const [subject] = parts;
      const error = parts.find((part) => part instanceof Error);
      const { grantId, clientId } = subject?.oidc?.entities?.Grant ?? subject ?? {};
      print({
        event,
        grant: event === "grant.revoked" ? parts[1] : (grantId ?? subject?.oidc?.entities?.Grant?.jti),
        client: clientId ?? subject?.oidc?.client?.clientId,
        error: error && `${error.message}: ${error.error_detail ?? error.error_description ?? ""}`,
      });
    });
  }
  const handle = provider.callback();
  server.on("request", async (request, response) => {
    const reply = (status, body, headers) => {
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
    };
    if (request.url === "/.well-known/oauth-protected-resource/mcp") {
      return reply(200, { resource, authorization_servers: [issuer], scopes_supported: ["tools"] });
    }
    if (request.url !== "/mcp" && request.url !== "/forget") return handle(request, response);
    const value = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    const token = value && (await provider.AccessToken.find(value));
    if (request.url === "/forget") return reply(200, (await token.destroy()) ?? {});
    if (token?.aud === resource) return answer(token.accountId, request, response);
    const challenge = `Bearer resource_metadata="${issuer}/.well-known/oauth-protected-resource/mcp"`;
    reply(401, {}, { "www-authenticate": challenge });
  });
  print(await (await fetch(`${issuer}/.well-known/openid-configuration`)).json());
});
