// Not `equal` and `deepEqual`: as named imports from node:assert/strict they are the loose ones on Deno 2.9.6.
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { inspect } from "node:util";
import fc from "fast-check";
import { type Mechanism, type SaslStep, SecretText, startSasl } from "../../server/smtp/sasl.ts";

const encode = (text: string) => new TextEncoder().encode(text).toBase64();

/** Plays an exchange: `undefined` is no initial response. What was asked is checked by the tests that care. */
function play(mechanism: Mechanism, initial: string | undefined, ...lines: string[]): SaslStep {
  const exchange = startSasl(mechanism);
  let step = initial === undefined ? exchange.begin() : exchange.next(initial);
  for (const line of lines) step = exchange.next(line);
  return step;
}

/** A step as one line of text, the secret revealed. */
function shown(step: SaslStep): string {
  if (step.kind === "challenge") return `334 ${step.text}`;
  if (step.kind === "bad") return step.problem;
  if (step.kind === "message") return `${step.turn} ${step.text}`;
  return `${JSON.stringify(step.authorizationId)} ${JSON.stringify(step.user)} ${
    JSON.stringify(step.secret.reveal())
  }`;
}

// deno-fmt-ignore
const table: readonly [id: string, mechanism: Mechanism, lines: [string | undefined, ...string[]], shown: string][] = [
  ["PLAIN without an initial response is asked for it", "PLAIN", [undefined], "334 "],
  ["PLAIN, asked", "PLAIN", [undefined, encode("\0ann\0secret")], '"" "ann" "secret"'],
  ["PLAIN at once", "PLAIN", [encode("\0ann\0secret")], '"" "ann" "secret"'],
  ["U05 an authorization identity", "PLAIN", [encode("bob\0ann\0secret")], '"bob" "ann" "secret"'],
  ["PLAIN beyond ASCII", "PLAIN", [encode("\0jürgen\0größe😀")], '"" "jürgen" "größe😀"'],
  ["PLAIN keeps a byte order mark", "PLAIN", [encode("\0a\0\ufeffb")], '"" "a" "\ufeffb"'],
  ["PLAIN keeps control characters of a password", "PLAIN", [encode("\0a\0b\x01\r\n")], '"" "a" "b\\u0001\\r\\n"'],
  ["U02 no NUL", "PLAIN", [encode("ann")], "malformed"],
  ["U02 one NUL", "PLAIN", [encode("ann\0secret")], "malformed"],
  ["U02 three NULs", "PLAIN", [encode("\0ann\0sec\0ret")], "malformed"],
  ["U02 an empty user", "PLAIN", [encode("\0\0secret")], "malformed"],
  ["U02 an empty password", "PLAIN", [encode("\0ann\0")], "malformed"],
  ["U02 an empty initial response", "PLAIN", ["="], "malformed"],
  ["U02 an empty line", "PLAIN", [undefined, ""], "malformed"],
  ["U02 a line end in a user", "PLAIN", [encode("\0an\r\nn\0secret")], "malformed"],
  ["U02 a control character in an authorization identity", "PLAIN", [encode("\x1b\0ann\0secret")], "malformed"],
  ["U02 overlong UTF-8", "PLAIN", [Uint8Array.of(0, 0xc0, 0xaf, 0, 0x61).toBase64()], "malformed"],
  ["U02 a surrogate", "PLAIN", [Uint8Array.of(0, 0xed, 0xa0, 0x80, 0, 0x61).toBase64()], "malformed"],
  ["U02 cancelled", "PLAIN", [undefined, "*"], "cancelled"],
  ["U02 = behind the beginning", "PLAIN", [undefined, "="], "base64"],
  ["U02 no octets instead of =", "PLAIN", [""], "base64"],
  ["U02 no padding", "PLAIN", ["AGFubgBzZWNyZXQx".slice(0, -1)], "base64"],
  ["U02 too much padding", "PLAIN", ["AGFubgBzZWNyZXQ=="], "base64"],
  ["U02 padding in the middle", "PLAIN", ["AGE=AGI="], "base64"],
  ["U02 bits behind the end", "PLAIN", ["AGFubgBzZWNyZXR="], "base64"],
  ["U02 the URL alphabet", "PLAIN", ["AGE-AGI_"], "base64"],
  ["U02 white space", "PLAIN", ["AGFu bgBz"], "base64"],
  ["U02 a line end", "PLAIN", ["AGFu\r\nbgBz"], "base64"],
  ["U02 beyond ASCII", "PLAIN", ["AGFüAAAA"], "base64"],
  ["LOGIN asks for a user", "LOGIN", [undefined], "334 VXNlcm5hbWU6"],
  ["LOGIN asks for a password", "LOGIN", [undefined, encode("ann")], "334 UGFzc3dvcmQ6"],
  ["LOGIN with the user at once", "LOGIN", [encode("ann")], "334 UGFzc3dvcmQ6"],
  ["LOGIN", "LOGIN", [undefined, encode("ann"), encode("secret")], '"" "ann" "secret"'],
  ["LOGIN, the user at once", "LOGIN", [encode("ann@b.c"), encode("secret")], '"" "ann@b.c" "secret"'],
  ["LOGIN keeps a byte order mark", "LOGIN", [undefined, encode("a"), encode("\ufeffb")], '"" "a" "\ufeffb"'],
  ["U02 LOGIN with an empty user", "LOGIN", [undefined, "", encode("secret")], "malformed"],
  ["U02 LOGIN with = as user", "LOGIN", ["=", encode("secret")], "malformed"],
  ["U02 LOGIN with NUL", "LOGIN", [undefined, encode("a\0b"), encode("secret")], "malformed"],
  ["U02 LOGIN with NUL in the password", "LOGIN", [undefined, encode("a"), encode("s\0")], "malformed"],
  ["U02 LOGIN with an empty password", "LOGIN", [undefined, encode("a"), ""], "malformed"],
  ["U02 LOGIN cancelled at the password", "LOGIN", [undefined, encode("a"), "*"], "cancelled"],
  ["U02 LOGIN without base64", "LOGIN", [undefined, "ann"], "base64"],
  ["XOAUTH2", "XOAUTH2", [encode("user=a@b.c\x01auth=Bearer ya29.x-_~+/=\x01\x01")], '"" "a@b.c" "ya29.x-_~+/="'],
  ["XOAUTH2, asked", "XOAUTH2", [undefined, encode("user=a\x01auth=bearer t\x01\x01")], '"" "a" "t"'],
  ["U02 XOAUTH2 without a user", "XOAUTH2", [encode("user=\x01auth=Bearer t\x01\x01")], "malformed"],
  ["U02 XOAUTH2 without a token", "XOAUTH2", [encode("user=a\x01auth=Bearer \x01\x01")], "malformed"],
  ["U02 XOAUTH2 of another scheme", "XOAUTH2", [encode("user=a\x01auth=Basic t\x01\x01")], "malformed"],
  ["U02 XOAUTH2 cut short", "XOAUTH2", [encode("user=a\x01auth=Bearer t\x01")], "malformed"],
  ["U02 XOAUTH2 with more behind it", "XOAUTH2", [encode("user=a\x01auth=Bearer t\x01\x01x")], "malformed"],
  ["OAUTHBEARER", "OAUTHBEARER", [encode("n,a=a@b.c,\x01host=h\x01port=587\x01auth=Bearer t\x01\x01")], '"a@b.c" "a@b.c" "t"'],
  ["OAUTHBEARER with escapes", "OAUTHBEARER", [encode("y,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01")], '"a,b=c" "a,b=c" "t"'],
  ["U02 OAUTHBEARER without a user", "OAUTHBEARER", [encode("n,,\x01auth=Bearer t\x01\x01")], "malformed"],
  ["U02 OAUTHBEARER with a bad escape", "OAUTHBEARER", [encode("n,a=a=2c,\x01auth=Bearer t\x01\x01")], "malformed"],
  ["U02 OAUTHBEARER with channel binding", "OAUTHBEARER", [encode("p=x,a=a,\x01auth=Bearer t\x01\x01")], "malformed"],
  ["U02 OAUTHBEARER with two tokens", "OAUTHBEARER", [ encode("n,a=a,\x01auth=Bearer t\x01auth=Bearer u\x01\x01"), ], "malformed"],
  ["U02 OAUTHBEARER without a token", "OAUTHBEARER", [encode("n,a=a,\x01host=h\x01\x01")], "malformed"],
  ["U02 OAUTHBEARER not closed", "OAUTHBEARER", [encode("n,a=a,\x01auth=Bearer t\x01")], "malformed"],
  ["U02 OAUTHBEARER's dummy answer", "OAUTHBEARER", ["AQ=="], "malformed"],
  ["after the end", "PLAIN", [encode("\0ann\0secret"), encode("\0bob\0secret")], "malformed"],
  ["after a failure", "LOGIN", [undefined, "*", encode("bob")], "malformed"],
];
for (const [id, mechanism, [initial, ...lines], expected] of table) {
  Deno.test(`SASL: ${id}`, () => equal(shown(play(mechanism, initial, ...lines)), expected));
}

Deno.test("SASL: begin is for the beginning", () => {
  const exchange = startSasl("LOGIN");
  exchange.begin();
  equal(shown(exchange.begin()), "malformed");
  equal(exchange.mechanism, "LOGIN");
});

Deno.test("X04: a secret shows itself to nobody who does not ask", () => {
  const step = play("PLAIN", encode("\0ann\0tr0ub4dor"));
  ok(step.kind === "credentials");
  const { secret } = step;
  const shown = [
    String(secret),
    `${secret}`,
    JSON.stringify(step),
    JSON.stringify({ secret }),
    inspect(step, { showHidden: true, depth: 9 }),
    Deno.inspect(step, { showHidden: true, depth: 9 }),
    JSON.stringify(Object.entries(secret)),
    JSON.stringify(Reflect.ownKeys(secret)),
  ];
  for (const text of shown) ok(!text.includes("tr0ub4dor"), text);
  equal(shown[0], "[secret]");
  equal(secret.reveal(), "tr0ub4dor");
  deepEqual(structuredClone({ ...secret }), {});
  ok(Deno.inspect(new SecretText("x")).includes("[secret]"));
});

Deno.test("U02 SCRAM: what the client says is decoded, turn by turn; a cancelled or malformed one is over", () => {
  equal(shown(play("SCRAM-SHA-256", encode("n,,n=u,r=x"))), "first n,,n=u,r=x");
  equal(shown(play("SCRAM-SHA-256", undefined, encode("n,,n=u,r=x"))), "first n,,n=u,r=x");
  equal(shown(play("SCRAM-SHA-256-PLUS", encode("a"), encode("b"), "")), "next ");
  equal(shown(play("SCRAM-SHA-256", "=")), "first ");
  equal(shown(play("SCRAM-SHA-256", "")), "base64");
  equal(shown(play("SCRAM-SHA-256", encode("a"), "*")), "cancelled");
  equal(shown(play("SCRAM-SHA-256", encode("a"), "*", encode("b"))), "malformed");
  equal(shown(play("SCRAM-SHA-256", "YQ")), "base64");
  equal(shown(play("SCRAM-SHA-256", "//8=")), "malformed");
});

Deno.test("U02 property: any lines give a step, and credentials only with a user and a secret", () => {
  const mechanism = fc.constantFrom<Mechanism>("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256");
  const part = fc.constantFrom("\0", "\x01", "user=", "a", "auth=Bearer ", "n,a=", ",", "=", "\r\n", "ü");
  const line = fc.oneof(
    fc.array(part, { maxLength: 8 }).map((parts) => encode(parts.join(""))),
    fc.string({ unit: "binary" }),
    fc.base64String(),
  );
  fc.assert(
    fc.property(
      mechanism,
      fc.option(line, { nil: undefined }),
      fc.array(line, { maxLength: 3 }),
      (mechanism, initial, lines) => {
        const step = play(mechanism, initial, ...lines);
        if (step.kind !== "credentials") return;
        ok(step.user !== "" && step.secret.reveal() !== "");
        ok(!/\p{Cc}/u.test(step.user + step.authorizationId));
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("U02 property: PLAIN gives what was put in", () => {
  const name = fc.string({ minLength: 1 }).filter((text) => !/\p{Cc}/u.test(text));
  fc.assert(fc.property(name, name, name, (authorizationId, user, password) => {
    const step = play("PLAIN", encode(`${authorizationId}\0${user}\0${password}`));
    ok(step.kind === "credentials");
    deepEqual([step.authorizationId, step.user, step.secret.reveal()], [authorizationId, user, password]);
  }));
});
