// openid-client as a relying party: prints where it sends the browser, reads where the browser came back, prints the claims.
// Environment: ISSUER, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI.
import * as client from 'openid-client';
import { createInterface } from 'node:readline/promises';

const env = process.env;
const config = await client.discovery(new URL(env.ISSUER), env.CLIENT_ID, env.CLIENT_SECRET, undefined, {
  execute: [client.allowInsecureRequests], // plain http, to loopback
});
const say = (what) => console.log(JSON.stringify(what));
const verifier = client.randomPKCECodeVerifier();
const [state, nonce] = [client.randomState(), client.randomNonce()];
say({
  url: client.buildAuthorizationUrl(config, {
    redirect_uri: env.REDIRECT_URI,
    scope: 'openid profile',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    max_age: '60',
    state,
    nonce,
  }).href,
});
const back = await createInterface({ input: process.stdin }).question('');
try {
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, maxAge: 60, idTokenExpected: true };
  const tokens = await client.authorizationCodeGrant(config, new URL(back), checks);
  say(tokens.claims());
  say(await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub));
} catch (error) {
  say({ error: error.error ?? String(error) });
  process.exitCode = 2;
}
process.exit();
