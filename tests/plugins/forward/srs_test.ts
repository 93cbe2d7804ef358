/** Rewritten senders: what is made, what is undone, and what nobody gets through with. */
import {
  deepStrictEqual as deepEqual,
  match,
  notStrictEqual as notEqual,
  ok,
  strictEqual as equal,
} from "node:assert/strict";
import fc from "fast-check";
import { rewrite as rewriteSender, type SrsHow, undo, type Undone } from "../../../plugins/forward/srs.ts";
import { split } from "../../../plugins/addresses.ts";

const key = "0123456789abcdef0123456789abcdef";
const how: SrsHow = { domain: "us.example", keys: [key], maxAge: 21 * 864e5 };
const day = 864e5;
const now = 20_000 * day;

const rewrite = (from: string, how: SrsHow, at: number) => {
  const made = rewriteSender(from, how, at);
  return made.kind === "rewritten" ? made.address : undefined;
};
const back = (address: string, to: SrsHow = how, at = now): Undone => {
  const { local, domain } = split(address);
  return undo({ local, domain: domain! }, to, at);
};
const sender = (address: string) => ({ kind: "sender" as const, address });

Deno.test("SRS: a sender is rewritten, and read out of it again", () => {
  const made = rewrite("alice@far.example", how, now)!;
  match(made, /^SRS0=[a-z2-7]{8}=[a-z2-7]{2}=far\.example=alice@us\.example$/);
  deepEqual(back(made), sender("alice@far.example"));
  deepEqual(back("alice@us.example"), { kind: "other" });
  deepEqual(back(made.replace("us.example", "other.example")), { kind: "other" });
});

Deno.test("SRS: the null sender and our own stay as they are, and so does what would get too long", () => {
  equal(rewrite("", how, now), undefined);
  equal(rewrite("bob@us.example", how, now), undefined);
  equal(rewrite("bob@US.example", how, now), undefined);
  equal(rewriteSender(`${"a".repeat(64)}@${"d.".repeat(85)}example`, how, now).kind, "too long");
  ok(rewrite(`${"a".repeat(200)}@d.example`, how, now));
});

Deno.test("SRS: another forwarder's address is wrapped once, and leads back to that forwarder", () => {
  for (const separator of ["=", "+", "-"]) {
    const theirs = `SRS0${separator}abcd=XY=far.example=alice@one.example`;
    const first = rewrite(theirs, how, now)!;
    match(first, /^SRS1=[a-z2-7]{8}=one\.example=[=+-]abcd=XY=far\.example=alice@us\.example$/);
    deepEqual(back(first), sender(theirs));
    const others: SrsHow = { ...how, domain: "two.example", keys: ["another key, another key"] };
    const second = rewrite(first, others, now)!;
    match(second, /^SRS1=[a-z2-7]{8}=one\.example=[=+-]abcd=XY=far\.example=alice@two\.example$/);
    deepEqual(back(second, others), sender(theirs), "the forwarders between drop out");
  }
  const odd = rewrite("SRS1=what=is@far.example", how, now)!;
  deepEqual(
    back(odd),
    sender("SRS1=what=is@far.example"),
    "what only looks like one is an address like others",
  );
});

Deno.test("SRS: letters may change their case on the way", () => {
  const made = rewrite("Alice.B@Far.Example", how, now)!;
  deepEqual(back(made), sender("Alice.B@far.example"));
  deepEqual(back(made.toLowerCase()), sender("alice.b@far.example"));
  deepEqual(back(made.toUpperCase().replace("US.EXAMPLE", "us.example")), sender("ALICE.B@far.example"));
  const wrapped = rewrite("SRS0=AbCd=XY=far.example=Alice@One.example", how, now)!;
  deepEqual(back(wrapped.toLowerCase()), sender("SRS0=abcd=xy=far.example=alice@one.example"));
});

Deno.test("SRS: keys are rotated: the first signs, all of them undo", () => {
  const old = rewrite("alice@far.example", how, now)!;
  const rotated = { ...how, keys: ["a newer key, a newer key", key] };
  const fresh = rewrite("alice@far.example", rotated, now)!;
  notEqual(fresh, old);
  deepEqual(back(old, rotated), sender("alice@far.example"));
  deepEqual(back(fresh, rotated), sender("alice@far.example"));
  deepEqual(back(old, { ...how, keys: rotated.keys.slice(0, 1) }), { kind: "forged" });
});

Deno.test("SRS: an address is good for its time, also over the end of the time stamp's thousand days", () => {
  for (const made of [now, Math.ceil(now / (1024 * day)) * 1024 * day - day]) {
    const address = rewrite("alice@far.example", how, made)!;
    for (
      const [later, kind] of [[0, "sender"], [21, "sender"], [22, "expired"], [500, "expired"], [
        -1,
        "sender",
      ], [-2, "expired"]] as const
    ) {
      equal(back(address, how, made + later * day).kind, kind, `${later} days`);
    }
  }
  const forged = rewrite("alice@far.example", how, now)!.replace(/=..=far/, "=77=far");
  equal(back(forged).kind, "forged", "the time stamp is in the hash");
});

Deno.test("R01 SRS: whatever is changed, or made up without a key, leads nowhere", () => {
  for (
    const local of [
      "SRS0",
      "SRS0=",
      "SRS0=x",
      "SRS0=abcdefgh=aa=far.example=alice",
      "SRS0==aa=far.example=alice",
      "SRS0=aaaaaaaa=aa=far.example=",
      "SRS1=",
      "SRS1=aaaaaaaa=far.example==abcd=XY=x.example=alice",
      "SRS1=aaaaaaaa==x",
      "srs0-a=b=c=d",
      "SRS0+aaaaaaaa=aa=far.example=x",
    ]
  ) {
    const { kind } = undo({ local, domain: "us.example" }, how, now);
    ok(kind === "forged" || (kind === "other" && local === "SRS0"), `${local}: ${kind}`);
  }
  const made = ["alice@far.example", "SRS0=abcd=XY=far.example=alice@one.example"].map((one) =>
    rewrite(one, how, now)!
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...made),
      fc.nat(),
      fc.constantFrom(..."abcxyz234=+-.@"),
      (address, at, letter) => {
        const { local } = split(address);
        const place = 4 + at % (local.length - 4); // the scheme's name aside
        const other = local.slice(0, place) + letter + local.slice(place + 1);
        if (other.toLowerCase() === local.toLowerCase()) return;
        const undone = undo({ local: other, domain: "us.example" }, how, now);
        // The first separator is any of three.
        if (place === 4 && "=+-".includes(letter)) return equal(undone.kind, "sender");
        equal(undone.kind, place === 4 ? "other" : "forged", other);
      },
    ),
    { numRuns: 2000 },
  );
  fc.assert(fc.property(fc.string(), (text) => {
    equal(undo({ local: `SRS0=${text}`, domain: "us.example" }, how, now).kind, "forged");
    equal(undo({ local: `SRS1=${text}`, domain: "us.example" }, how, now).kind, "forged");
  }));
});

Deno.test("SRS: any local part comes back as it was, quoted where it must be", () => {
  for (
    const address of [
      '"a b"@far.example',
      '"x=y@z"@far.example',
      "a=b=c@far.example",
      "jürgen@far.example",
      '"a\\"b"@far.example',
    ]
  ) {
    deepEqual(back(rewrite(address, how, now)!), sender(address), address);
  }
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(..."abcXYZ019=+-_.'/ @\"\\ü"), minLength: 1, maxLength: 60 }),
      (local) => {
        const written = `"${local.replaceAll(/["\\]/g, "\\$&")}"@far.example`;
        const made = rewrite(written, how, now)!;
        const undone = back(made);
        equal(undone.kind, "sender");
        equal(undone.kind === "sender" && split(undone.address).local, local);
      },
    ),
  );
});
