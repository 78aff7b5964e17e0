// oidc-provider with people whose groups a test changes: node provider.mjs LIBRARY PORT CALLBACK
import { pathToFileURL } from "node:url";

const [library, port, callback] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(library));
const people = new Map();

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "upwell",
      client_secret: "s3cret",
      redirect_uris: [callback],
      response_types: ["code"],
      grant_types: [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
      ],
    },
  ],
  claims: { openid: ["sub"], groups: ["groups"] },
  scopes: ["openid", "offline_access", "groups"],
  cookies: { keys: ["a test's"] },
  features: { deviceFlow: { enabled: true }, revocation: { enabled: true } },
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  findAccount: async (_, id) =>
    people.has(id)
      ? { accountId: id, claims: async () => ({ sub: id, groups: people.get(id) }) }
      : undefined,
});
provider.use(async (ctx, next) => {
  const [, place, id, groups] = ctx.path.split("/");
  if (place !== "people") return next();
  if (ctx.method === "DELETE") people.delete(id);
  else people.set(id, groups ? groups.split(",") : []);
  ctx.body = "";
  ctx.status = 204;
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
