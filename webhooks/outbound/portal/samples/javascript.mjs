// Verify a webhook of endpoint we_00000000000000000000000000 (Standard Webhooks). Uses Web Crypto alone, so it runs in Node.js,
// Deno, Bun, workers and browsers.
//
// In your framework: `await verify(KEYS, headers, body)` with the body exactly as it came in (a Uint8Array, before any parsing;
// in Express: express.raw({type: "*/*"})), and answer 400 where it throws. By hand:
//
//     WEBHOOK_KEYS=whsec_... node javascript.mjs "$webhook_id" "$webhook_timestamp" "$webhook_signature" < body.json

const settings = globalThis.process?.env ?? {};
// The signing secret (whsec_...) or the public key (whpk_...). Several, separated by spaces, while you rotate.
export const KEYS = (settings.WEBHOOK_KEYS ?? "whsec_REPLACE_ME").split(" ").filter(Boolean);
const TOLERANCE = 5 * 60; // seconds that the sender's clock may differ from ours

// Throws unless one of the signatures was made by one of the keys, over this id, time and body, just now.
// `headers` is an object of lower-case names.
export async function verify(keys, headers, body, now = Date.now() / 1000) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!id || !/^[0-9]{1,12}$/.test(timestamp)) throw new Error("webhook-id or webhook-timestamp is missing or malformed");
  if (Math.abs(now - Number(timestamp)) > TOLERANCE) throw new Error("the timestamp is too old or too far ahead: perhaps a replay");
  const head = new TextEncoder().encode(`${id}.${timestamp}.`);
  const content = new Uint8Array(head.length + body.length);
  content.set(head);
  content.set(body, head.length);
  for (const part of (headers["webhook-signature"] ?? "").split(" ")) {
    const comma = part.indexOf(",");
    for (const key of keys) {
      if (comma > 0 && (await fits(key, part.slice(0, comma), part.slice(comma + 1), content))) return;
    }
  }
  throw new Error("no signature fits");
}

async function fits(key, version, signature, content) {
  const secret = decoded(key.slice(key.indexOf("_") + 1));
  const given = decoded(signature);
  if (!secret) throw new Error("a key is not base64 behind its prefix: was it copied whole?");
  if (!given) return false;
  const subtle = globalThis.crypto?.subtle ?? (await import("node:crypto")).webcrypto.subtle; // Node.js 18 has no global one
  if (key.startsWith("whsec_") && version === "v1") {
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const imported = await subtle.importKey("raw", secret, hmac, false, ["verify"]);
    return subtle.verify(hmac, imported, given, content); // takes the same time wherever they differ
  }
  if (key.startsWith("whpk_") && version === "v1a") {
    const ed25519 = { name: "Ed25519" };
    const imported = await subtle.importKey("raw", secret, ed25519, false, ["verify"]);
    return subtle.verify(ed25519, imported, given, content);
  }
  return false;
}

// Bytes of base64 text; null where it is none.
function decoded(text) {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text) || !text) return null;
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// By hand, in Node.js: three arguments, and the body on standard input.
if (globalThis.process?.argv?.length >= 2 && globalThis.process.argv[1].endsWith("javascript.mjs")) {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const [id, timestamp, signature] = process.argv.slice(2);
  const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature };
  try {
    await verify(KEYS, headers, new Uint8Array(Buffer.concat(chunks)));
    console.log("verified");
  } catch (error) {
    console.error(`refused: ${error.message}`);
    process.exitCode = 1;
  }
}
