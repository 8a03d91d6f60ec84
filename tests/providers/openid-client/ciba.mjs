// openid-client as a client of CIBA: begins a login, prints what it got, waits for the result, prints that.
// Environment: ISSUER, CLIENT_ID, CLIENT_SECRET, LOGIN_HINT, BINDING_MESSAGE, CLIENT_AUTH (post or basic).
import * as client from 'openid-client';

const env = process.env;
const proof = env.CLIENT_AUTH === 'basic' ? client.ClientSecretBasic : client.ClientSecretPost;
const config = await client.discovery(new URL(env.ISSUER), env.CLIENT_ID, env.CLIENT_SECRET, proof(env.CLIENT_SECRET), {
  execute: [client.allowInsecureRequests], // plain http, to loopback
});
const say = (what) => console.log(JSON.stringify(what));
try {
  const started = await client.initiateBackchannelAuthentication(config, {
    scope: 'openid profile',
    login_hint: env.LOGIN_HINT,
    binding_message: env.BINDING_MESSAGE,
    acr_values: 'urn:sshaft:acr:code',
  });
  say(started);
  const tokens = await client.pollBackchannelAuthenticationGrant(config, started);
  say(tokens.claims());
  say(await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub));
} catch (error) {
  say({ error: error.error ?? String(error) });
  process.exitCode = 2;
}
