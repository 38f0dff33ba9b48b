// Writes messagebird.json: requests signed in every way, and what the provider's library says of them. See README.md.

import { createHash, createSecretKey } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.NODE_PATH}/x.js`);
const { VerifyOptions, verify } = require('messagebird/lib/webhook-signature-jwt.js');
const { SignJWT, UnsecuredJWT, generateKeyPair } = require('jose');

const KEY = 'vS7xOAf3canarysigningkey0123456789';
const OTHER = 'another-signing-key-0123456789abcdef';
const URL_ = 'https://klaroen.example.nl/v1/gateways/g/token-0123456789-abcdef/receipts';
const NOW = 1795435200;
const hash = (text) => createHash('sha256').update(text).digest('hex');
const secret = (key) => createSecretKey(Buffer.from(key, 'utf8'));

const urls = { 'no query': URL_, query: `${URL_}?id=1&status=delivered`, 'encoded query': `${URL_}?price%5Bamount%5D=0.1&x=%C3%A9+` };
const bodies = { 'no body': '', form: 'originator=31612345678&body=gezien', json: '{"text":"gezien \u00e9\u20ac"}' };

function claims(url, body, changes = {}) {
  const all = { iss: 'MessageBird', nbf: NOW - 5, exp: NOW + 55, jti: 'a1b2-once', url_hash: hash(url) };
  if (body) all.payload_hash = hash(body);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete all[name];
    else all[name] = value;
  }
  return all;
}

const sign = (payload, alg, key) => new SignJWT(payload).setProtectedHeader({ alg, typ: 'JWT' }).sign(key);
const requests = [];
const add = (name, url, body, token) => requests.push({ name, key: KEY, url, body, now: NOW, token });

for (const alg of ['HS256', 'HS384', 'HS512']) {
  for (const [urlName, url] of Object.entries(urls)) {
    for (const [bodyName, body] of Object.entries(bodies)) {
      add(`${alg}, ${urlName}, ${bodyName}`, url, body, await sign(claims(url, body), alg, secret(KEY)));
    }
  }
}
const [url, body] = [urls.query, bodies.form];
const bad = {
  'expired': { nbf: NOW - 120, exp: NOW - 60 },
  'not yet': { nbf: NOW + 60, exp: NOW + 120 },
  'another issuer': { iss: 'MessageWombat' },
  'no issuer': { iss: undefined },
  'no jti': { jti: undefined },
  'no url_hash': { url_hash: undefined },
  'hash of another URL': { url_hash: hash(urls['no query']) },
  'no payload_hash': { payload_hash: undefined },
  'hash of another body': { payload_hash: hash('x') },
};
for (const [name, changes] of Object.entries(bad)) {
  add(name, url, body, await sign(claims(url, body, changes), 'HS256', secret(KEY)));
}
add('another key', url, body, await sign(claims(url, body), 'HS256', secret(OTHER)));
add('alg none', url, body, new UnsecuredJWT(claims(url, body)).encode());
const { privateKey } = await generateKeyPair('RS256');
add('alg RS256', url, body, await sign(claims(url, body), 'RS256', privateKey));
add('another order of the query', `${URL_}?status=delivered&id=1`, body, await sign(claims(url, body), 'HS256', secret(KEY)));
add('hash of a body that is not there', url, '', await sign(claims(url, body), 'HS256', secret(KEY)));
add('no token', url, body, '');
add('two parts', url, body, (await sign(claims(url, body), 'HS256', secret(KEY))).split('.').slice(0, 2).join('.'));

const options = new VerifyOptions(true, true, {
  issuer: 'MessageBird', algorithms: ['HS256', 'HS384', 'HS512'], clockTolerance: 1, currentDate: new Date(NOW * 1000),
});
for (const request of requests) {
  request.valid = await verify(request.url, Buffer.from(request.body), request.token, secret(KEY), options).then(() => true, () => false);
}
writeFileSync(new URL('messagebird.json', import.meta.url), `${JSON.stringify(requests, null, 1)}\n`);
