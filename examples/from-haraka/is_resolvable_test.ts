import { strictEqual as equal } from "node:assert/strict";
import { type FakeName, mailboxes, testServer } from "postrider/testing";
import isResolvable from "./is_resolvable.ts";

const mx = (...hosts: string[]) => hosts.map((host, i) => ({ preference: i, host }));
const dns: Record<string, FakeName> = {
  "good.example": { MX: mx("mx.good.example") },
  "mx.good.example": { A: ["192.0.2.1"] },
  "implicit.example": { AAAA: ["2001:db8::1"] },
  "bogus.example": { MX: mx("localhost.example") },
  "localhost.example": { A: ["127.0.0.1"] },
  "none.example": { MX: mx("nowhere.example") },
  "null.example": { MX: mx(".") },
  "down.example": { MX: mx("nowhere.example", "broken.example") },
  "broken.example": "servfail",
  "half.example": { MX: mx("broken.example", "mx.good.example") },
};

const expected = {
  "a@good.example": "250",
  "a@implicit.example": "250",
  "a@half.example": "250",
  "": "250",
  "a@bogus.example": "550 5.1.8 bogus.example has no mail host",
  "a@none.example": "550 5.1.8 none.example has no mail host",
  "a@unheard-of.example": "550 5.1.8 unheard-of.example has no mail host",
  "a@null.example": "550 5.7.27 null.example takes no mail",
  "a@down.example": "451",
  "a@broken.example": "451",
};

for (const [from, reply] of Object.entries(expected)) {
  Deno.test(`is-resolvable: <${from}>: ${reply}`, async () => {
    await using server = await testServer({ plugins: [isResolvable, mailboxes(["example.org"])], dns });
    const { code, status, text } = (await server.send({ from, to: "alice@example.org" })).reply;
    equal(`${code} ${status} ${text}`.startsWith(reply), true, `${code} ${status} ${text}`);
  });
}
