// npm oidc-provider on loopback. Prints its metadata in one line when it listens. The argument says
// whether pushed authorization requests are required.
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const server = createServer();
server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [],
    scopes: ["openid", "offline_access", "email"],
    features: {
      deviceFlow: { enabled: true },
      registration: { enabled: true },
      revocation: { enabled: true },
      pushedAuthorizationRequests: {
        enabled: true,
        requirePushedAuthorizationRequests: process.argv[2] === "required",
      },
    },
  });
  server.on("request", provider.callback());
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  console.log(JSON.stringify(await response.json()));
});
