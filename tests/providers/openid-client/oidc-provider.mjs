// oidc-provider as the provider of host login and of web terminals: device grant, code flow, back-channel logout, refresh tokens, access tokens by RFC 9068 for a resource,
// introspection, revocation and UserInfo, on loopback. Any person exists until a POST to /gone/PERSON. Prints a line of JSON for each request and for each token that ends.
// Environment: PORT, CLIENT_SECRET, WEB_URL and UNRENEWED_URL. Clients: hosts (with the secret), public (without one),
// web (with the secret; `sshaft web` at WEB_URL), and unrenewed (the same at UNRENEWED_URL, without refresh tokens).
import crypto from 'node:crypto';
import querystring from 'node:querystring';
import Provider from 'oidc-provider';

const { PORT, CLIENT_SECRET, WEB_URL, UNRENEWED_URL } = process.env;
const say = (what) => console.log(JSON.stringify(what));
const client = {
  grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], redirect_uris: [], response_types: [],
};
const webAt = (url) => ({
  client_secret: CLIENT_SECRET, grant_types: ['authorization_code'], response_types: ['code'],
  redirect_uris: [`${url}/sign-in/callback`],
});
const web = WEB_URL ? [{
  ...webAt(WEB_URL), client_id: 'web', grant_types: ['authorization_code', 'refresh_token'],
  backchannel_logout_uri: `${WEB_URL}/back-channel-logout`, backchannel_logout_session_required: true,
}] : [];
const unrenewed = UNRENEWED_URL ? [{ ...webAt(UNRENEWED_URL), client_id: 'unrenewed' }] : [];
const gone = new Set();
const provider = new Provider(`http://localhost:${PORT}`, {
  clients: [
    { client_id: 'hosts', client_secret: CLIENT_SECRET, ...client },
    { client_id: 'public', token_endpoint_auth_method: 'none', ...client },
    ...web,
    ...unrenewed,
  ],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  cookies: { keys: ['for this test'] },
  extraTokenClaims: (ctx, token) => ({ username: token.accountId }),
  // Without its guard against private addresses: `sshaft web` of the tests is on loopback.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  findAccount: (ctx, id) => (gone.has(id) ? undefined : {
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: ['ssh-users'] }),
  }),
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: true }, // plain pages for login and consent
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: { // without a resource (RFC 8707), access tokens are opaque
      enabled: true,
      getResourceServerInfo: (ctx, audience) => ({
        audience, scope: 'ssh', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
      }),
      useGrantedResource: () => false,
    },
    revocation: { enabled: true },
    userinfo: { enabled: true },
  },
});
provider.on('server_error', (ctx, error) => say({ error: String(error) }));
provider.on('backchannel.success', () => say({ logout: 'success' }));
provider.on('backchannel.error', (ctx, error) => say({ logout: String(error.cause ?? error) }));
provider.on('access_token.destroyed', () => say({ ended: 'access_token' }));
provider.on('refresh_token.destroyed', () => say({ ended: 'refresh_token' }));

// oidc-provider knows PKCE for the code flow only. Some providers demand it of a device, as this part does.
const challenges = new Map();
const challengeOf = (verifier) => crypto.createHash('sha256').update(verifier).digest('base64url');
provider.use(async (ctx, next) => {
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  ctx.req.body = Buffer.concat(chunks).toString();
  const form = querystring.parse(ctx.req.body);
  const isBegin = ctx.path === '/device/auth';
  const wrong = isBegin ? form.code_challenge_method !== 'S256' || !form.code_challenge
    : form.device_code && challenges.get(form.device_code) !== challengeOf(form.code_verifier ?? '');
  if (ctx.path.startsWith('/gone/')) {
    gone.add(ctx.path.slice('/gone/'.length));
    ctx.status = 204;
  } else if (wrong) {
    ctx.status = 400;
    ctx.body = { error: isBegin ? 'invalid_request' : 'invalid_grant' };
  } else {
    await next();
    if (isBegin && ctx.body?.device_code) challenges.set(ctx.body.device_code, form.code_challenge);
  }
  say({ method: ctx.method, path: ctx.path, status: ctx.status, error: ctx.body?.error });
});
provider.listen(Number(PORT), '127.0.0.1');
