/** SCRAM-SHA-256 against its RFC, and against whoever bends it. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { makeKeys } from "../plugins/auth/scram.ts";
import { beginScram, type Binding, nobodysKeys } from "../server/scram.ts";
import { scramClient, type ScramHow } from "./scram_client.ts";

const unbound: Binding = { mechanism: "SCRAM-SHA-256", endPoint: undefined, plus: "not-offered" };
const endPoint = new Uint8Array(32).fill(9);
const plus: Binding = { mechanism: "SCRAM-SHA-256-PLUS", endPoint, plus: "offered" };
const keys = (await makeKeys("pencil", new TextEncoder().encode("saltsalt"), 4096))!;
const pencil = { user: "user", password: "pencil" };

/** How a login by these ends. */
function login(how: ScramHow, binding: Binding = unbound): string {
  const client = scramClient(how);
  const begun = beginScram(client.first, binding);
  if (begun.kind !== "begun") return begun.kind;
  const proved = begun.scram.prove(client.last(begun.scram.challenge(keys)));
  return proved.kind === "right"
    ? (client.isServer(proved.signature) ? "right" : "another server")
    : proved.kind;
}

Deno.test("SCRAM: the exchange of RFC 7677 §3", async () => {
  const salt = Uint8Array.fromBase64("W22ZaJ0SNY7soEsUEjb6gQ==");
  const vector = (await makeKeys("pencil", salt, 4096))!;
  const begun = beginScram("n,,n=user,r=rOprNGfwEbeRWgbNEkqO", unbound, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
  ok(begun.kind === "begun");
  deepEqual([begun.user, begun.authorizationId], ["user", ""]);
  equal(
    begun.scram.challenge(vector),
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  );
  deepEqual(
    begun.scram.prove(
      "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    ),
    { kind: "right", signature: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" },
  );
});

Deno.test("SCRAM: a wrong password, another binding or nonce, and a message that was changed are wrong", () => {
  equal(login(pencil), "right");
  equal(login({ ...pencil, password: "Pencil" }), "wrong");
  const wrong: [(text: string) => string, string][] = [
    [(text) => text.replace(/,r=.*/, ",r=fyko+d2lbbFgONRv9qkxdawL"), "wrong"],
    [(text) => `${text}x`, "wrong"],
    [(text) => text.replace("c=biws", "c=eSws"), "wrong"],
    [(text) => `${text},x=1`, "right"],
    [(text) => text.replace("c=", "d="), "malformed"],
    [(text) => text.replace("r=", "m=1,r="), "malformed"],
    [(text) => text.replace(/.*,r/, "r"), "malformed"],
  ];
  for (const [change, expected] of wrong) equal(login({ ...pencil, change }), expected, String(change));
});

Deno.test("SCRAM: channel binding, and an offer that somebody took out on the way", () => {
  const header = "p=tls-server-end-point,,";
  equal(login({ ...pencil, header, endPoint }, plus), "right");
  equal(login({ ...pencil, header, endPoint: new Uint8Array(32).fill(8) }, plus), "wrong");
  equal(login({ ...pencil, header: "p=tls-unique,,", endPoint }, plus), "not-bound");
  equal(login({ ...pencil, header: "n,," }, plus), "not-bound");
  equal(login({ ...pencil, header, endPoint }, { ...plus, mechanism: "SCRAM-SHA-256" }), "not-bound");
  equal(login({ ...pencil, header, endPoint }, { ...plus, endPoint: undefined }), "not-bound");
  // `y`: it could bind, and heard that we can't.
  equal(login({ ...pencil, header: "y,," }), "right");
  equal(login({ ...pencil, header: "y,," }, { ...plus, mechanism: "SCRAM-SHA-256" }), "not-bound");
  equal(login({ ...pencil, header: "n,," }, { ...plus, mechanism: "SCRAM-SHA-256" }), "right");
});

Deno.test("SCRAM: first messages", () => {
  const name = (text: string) => {
    const begun = beginScram(text, unbound);
    return begun.kind === "begun" ? `${begun.authorizationId}|${begun.user}` : begun.kind;
  };
  const cases = {
    "n,,n=user,r=x": "|user",
    "n,a=other,n=user,r=x": "other|user",
    "n,,n=a=2Cb=3Dc,r=x": "|a,b=c",
    "n,,n=jürgen@example.org,r=x": "|jürgen@example.org",
    "n,,n=user,r=x,e=extension": "|user",
    "n,,m=1,n=user,r=x": "malformed",
    "n,,n=,r=x": "malformed",
    "n,,n=user": "malformed",
    "n,,n=user,r=": "malformed",
    "n,,n=user,r=ü": "malformed",
    "n,,n=a=b,r=x": "malformed",
    "n,,n=a\u0007,r=x": "malformed",
    "n,,n=a\u0000b,r=x": "malformed",
    "z,,n=user,r=x": "malformed",
    "n=user,r=x": "malformed",
    "": "malformed",
    [`n,,n=${"u".repeat(1025)},r=x`]: "malformed",
  };
  for (const [text, expected] of Object.entries(cases)) equal(name(text), expected, text);
});

Deno.test("SCRAM: any text is an answer, never an error", () => {
  const part = fc.constantFrom("n,,", "y,,", "p=", "n=", "r=", "u", ",", "=2C", "c=biws", "p=", "\0", "ü");
  const text = fc.array(part, { maxLength: 10 }).map((parts) => parts.join(""));
  fc.assert(fc.property(text, text, (first, last) => {
    const begun = beginScram(first, plus);
    if (begun.kind === "begun") begun.scram.challenge(keys);
    const { scram } = beginScram("n,,n=u,r=x", unbound) as typeof begun & { kind: "begun" };
    equal(scram.prove(last).kind, "malformed", "before the challenge");
    scram.challenge(keys);
    ok(scram.prove(last).kind !== "right");
  }));
});

Deno.test("U03 SCRAM: who is nobody has a salt that stays", () => {
  const [one, again, other] = ["mallory", "mallory", "mallet"].map(nobodysKeys);
  deepEqual(one!.salt, again!.salt);
  ok(one!.salt.toHex() !== other!.salt.toHex());
  ok(one!.storedKey.toHex() !== again!.storedKey.toHex(), "no proof could ever be right for them");
});
