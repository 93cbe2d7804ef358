/** What a review of proxy mode, of forwarding and of what both lead to tried to break. */
import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { mailboxes, testServer } from "../server/testing/mod.ts";

Deno.test("A01 <postmaster> is somebody's here, whoever has all that nobody here has", async () => {
  const relay = ["relay", { networks: ["10.0.0.0/8"] }] as const;
  const any = ["proxy", { domains: "any", host: "out.test" }] as const;
  for (const ip of ["10.1.2.3", "192.0.2.1"]) {
    await using server = await testServer({ plugins: [relay, any, mailboxes(["local.test"])] });
    equal((await server.send({ to: "postmaster", ip })).outcome, "accepted");
    deepEqual(server.delivered.map(({ to }) => to), ["postmaster@local.test"]);
    equal(server.sent.length, 0);
  }
});
