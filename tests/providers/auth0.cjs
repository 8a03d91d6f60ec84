// Auth0's side of a redirect Action, from its documentation: runs the Action of argv[2] with a user and a secret.
// stdin: {"step", "user", "secret", "continued": {"state", "body"}}; stdout: {"sent_to"} or {"denied"}, null where not.
"use strict";
const { createHmac, timingSafeEqual } = require("node:crypto");
const { readFileSync } = require("node:fs");

const DOMAIN = "example.eu.auth0.com";
const input = JSON.parse(readFileSync(0, "utf8"));
const event = { user: input.user, secrets: { SSHAFT_KEY: input.secret }, transaction: { ui_locales: ["de-AT", "en"] } };
const now = Math.floor(Date.now() / 1000);
const outcome = { sent_to: null, denied: null };
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const sign = (text, secret) => createHmac("sha256", secret).update(text).digest("base64url");

const api = {
  redirect: {
    encodeToken({ secret, expiresInSeconds = 900, payload }) {
      const own = { iat: now, iss: DOMAIN, sub: event.user.user_id, exp: now + expiresInSeconds, ip: "127.0.0.1" };
      const text = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded({ ...own, ...payload })}`;
      return `${text}.${sign(text, secret)}`;
    },
    sendUserTo(url, { query }) {
      const address = new URL(url);
      for (const [name, value] of Object.entries({ ...query, state: "the state of Auth0" }))
        address.searchParams.set(name, value);
      outcome.sent_to = address.href;
    },
    validateToken({ secret, tokenParameterName = "session_token" }) {
      const [header, claims, signature] = String(input.continued.body[tokenParameterName]).split(".");
      const [right, given] = [sign(`${header}.${claims}`, secret), String(signature)].map((each) => Buffer.from(each));
      if (right.length !== given.length || !timingSafeEqual(right, given)) throw new Error("invalid signature");
      if (JSON.parse(Buffer.from(header, "base64url")).alg !== "HS256") throw new Error("invalid algorithm");
      const payload = JSON.parse(Buffer.from(claims, "base64url"));
      for (const name of ["iat", "exp", "sub", "iss", "state"])
        if (payload[name] === undefined) throw new Error("Missing or invalid standard claims");
      if (payload.exp <= now) throw new Error("expired");
      if (payload.state !== input.continued.state) throw new Error("State in the token does not match");
      return payload;
    },
  },
  access: {
    deny(reason) {
      outcome.denied = reason;
    },
  },
};

require(process.argv[2])[input.step](event, api).then(() => console.log(JSON.stringify(outcome)));
