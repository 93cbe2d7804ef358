import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { logins, mailboxes, type TestServer, testServer } from "postrider/testing";
import blockMe from "./block_me.ts";

const options = { address: "block@example.org", users: ["alice@example.org"] };
const open = () => testServer({ plugins: [[blockMe, options], logins(), mailboxes(["example.org"])] });

function forward(server: TestServer, user: string, text: string) {
  return server.send({ user, from: user, to: options.address, headers: { Subject: "Fwd: Win!" }, text });
}

async function toAlice(server: TestServer, from: string): Promise<number> {
  return (await server.send({ from, to: "alice@example.org" })).reply.code;
}

Deno.test("block-me: whose mail was forwarded is refused from then on, others aren't", async () => {
  await using server = await open();
  equal(await toAlice(server, "win@spam.example"), 250);
  const text = "See below.\n\n-------- Forwarded --------\nFrom: \tBig Win <Win@Spam.example>\nTo: you\n";
  equal((await forward(server, "alice@example.org", text)).outcome, "accepted");
  equal(await toAlice(server, "win@spam.example"), 550);
  equal(await toAlice(server, "other@spam.example"), 250);
  deepEqual(server.log.of("blocked").map(({ fields }) => fields["from"]), ["Win@Spam.example"]);
  await server.clock.advance("365d");
  equal(await toAlice(server, "win@spam.example"), 550);
});

Deno.test("block-me: only those whose word counts; whoever forwards nothing is told so", async () => {
  await using server = await open();
  const text = "From: <bob@elsewhere.example>\n";
  equal((await forward(server, "mallory@example.org", text)).reply.text, "You are not allowed to block mail");
  equal((await server.send({ to: options.address, text })).reply.text, "You are not allowed to block mail");
  equal(await toAlice(server, "bob@elsewhere.example"), 250);
  const nothing = await forward(server, "alice@example.org", "Nothing here.\n");
  equal(nothing.reply.text, "There is no forwarded From: with an address in this message");
});

Deno.test("block-me: while the store can't be asked, mail waits", async () => {
  await using server = await open();
  server.stores = "fail";
  equal(await toAlice(server, "bob@elsewhere.example"), 451);
});
