import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { formatHash, readHash } from "../../../plugins/auth/phc.ts";

const salt = "c29tc2FsdHNhbHQ"; // 11 octets
const hash = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"; // 32 octets
const scrypt = (parameters: string, ...ends: string[]) => ["", "scrypt", parameters, ...ends].join("$");
const argon = (version: string, parameters: string, ...ends: string[]) =>
  ["", "argon2id", version, parameters, ...ends].join("$");

const good = [
  scrypt("ln=15,r=8,p=1", salt, hash),
  scrypt("ln=1,r=1,p=1", salt, hash),
  scrypt("ln=18,r=8,p=1", salt, hash), // 256 MiB
  scrypt("ln=17,r=8,p=8", salt, hash),
  argon("v=19", "m=19456,t=2,p=1", salt, hash),
  argon("v=19", "m=262144,t=4,p=4", salt, hash),
  argon("v=19", "m=128,t=1,p=16", salt, hash),
];

const bad: [text: string, problem: RegExp][] = [
  ["", /must start with/],
  ["secret", /must start with/],
  ["$", /must start with/],
  [` ${good[0]}`, /must start with/],
  [`{ARGON2ID}${good[4]}`, /scheme in braces/],
  ["$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", /kind "2b" are not supported/],
  ["$argon2i$v=19$m=65536,t=2,p=1$c29tc2FsdA$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA", /kind "argon2i"/],
  ["$__proto__$ln=1$a$b", /must start with/],
  [scrypt("ln=15,r=8", salt, hash), /must read/],
  [scrypt("r=8,ln=15,p=1", salt, hash), /must read/],
  [scrypt("ln=15,r=8,p=1,x=1", salt, hash), /must read/],
  [scrypt("ln=015,r=8,p=1", salt, hash), /must read/],
  [scrypt("ln=1e1,r=8,p=1", salt, hash), /must read/],
  [scrypt("ln=-1,r=8,p=1", salt, hash), /must read/],
  [scrypt("ln=0,r=8,p=1", salt, hash), /must read/],
  [scrypt("ln=15,r=8,p=1", salt), /must read/],
  [scrypt("ln=15,r=8,p=1", salt, hash, ""), /must read/],
  [scrypt("ln=19,r=8,p=1", salt, hash), /256 MiB/],
  [scrypt("ln=9999999999,r=8,p=1", salt, hash), /256 MiB/],
  [scrypt("ln=1,r=9999999999,p=1", salt, hash), /256 MiB/],
  [scrypt("ln=18,r=8,p=5", salt, hash), /too much work/],
  [scrypt("ln=1,r=1,p=9999999999", salt, hash), /too much work/],
  [scrypt("ln=16,r=1,p=1", salt, hash), /too large for this r/],
  [scrypt("ln=15,r=8,p=1", "c2hvcnQ", hash), /salt/],
  [scrypt("ln=15,r=8,p=1", "", hash), /salt/],
  [scrypt("ln=15,r=8,p=1", "A".repeat(88), hash), /salt/],
  [scrypt("ln=15,r=8,p=1", `${salt}=`, hash), /salt/],
  [scrypt("ln=15,r=8,p=1", salt.replace("Q", "R"), hash), /salt/], // bits behind the last octet
  [scrypt("ln=15,r=8,p=1", "c29tc2Fsd_NhbHQ", hash), /salt/], // base64url
  [scrypt("ln=15,r=8,p=1", salt, `${hash}\n`), /hash must be/],
  [scrypt("ln=15,r=8,p=1", salt, "c2hvcnQ"), /hash must be/],
  [scrypt("ln=15,r=8,p=1", salt, "A".repeat(88)), /hash must be/],
  [argon("v=16", "m=19456,t=2,p=1", salt, hash), /version 19/],
  [argon("m=19456,t=2,p=1", salt, hash), /must read/],
  [argon("v=19", "t=2,m=19456,p=1", salt, hash), /must read/],
  [argon("v=19", "m=19456,t=2,p=1,keyid=x", salt, hash), /must read/],
  [argon("v=19", "m=262145,t=1,p=1", salt, hash), /256 MiB/],
  [argon("v=19", "m=9999999999,t=1,p=1", salt, hash), /256 MiB/],
  [argon("v=19", "m=262144,t=5,p=1", salt, hash), /too much work/],
  [argon("v=19", "m=8,t=9999999999,p=1", salt, hash), /too much work/],
  [argon("v=19", "m=7,t=1,p=1", salt, hash), /8 times p/],
  [argon("v=19", "m=19456,t=1,p=17", salt, hash), /16 lanes/],
];

for (const text of good) {
  Deno.test(`PHC: ${text.slice(0, 40)} is read and written again the same`, () => {
    const read = readHash(text);
    ok("hash" in read);
    equal(formatHash(read.hash), text);
  });
}

Deno.test("PHC: bad hashes are refused with a sentence that never repeats salt or hash", () => {
  for (const [text, problem] of bad) {
    const read = readHash(text);
    ok("problem" in read, text);
    match(read.problem, problem, text);
    ok(!read.problem.includes(hash.slice(0, 8)) && !read.problem.includes(salt.slice(0, 8)), text);
  }
});

Deno.test("PHC: any text gives a hash or a problem, never another error", () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom("scrypt", "argon2id", "v=19", "ln=1,r=8,p=1", "m=8,t=1,p=1", salt),
  );
  fc.assert(fc.property(fc.array(piece), (pieces) => {
    const read = readHash(pieces.join("$"));
    ok("hash" in read || read.problem.length > 0);
  }));
});

Deno.test("PHC: what is written is read as the same octets", () => {
  const octets = (minLength: number) => fc.uint8Array({ minLength, maxLength: 64 });
  fc.assert(fc.property(octets(8), octets(16), (salt, hash) => {
    const made = { kind: "scrypt", ln: 4, r: 8, p: 1, salt, hash } as const;
    deepEqual(readHash(formatHash(made)), { hash: made });
  }));
});
