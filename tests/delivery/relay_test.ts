/** Relays: transports of plugins that the server's own client carries, in the whole server. */
import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { accept, defer, definePlugin, reject, type RelayRoute, type Target } from "../../server/plugin.ts";
import { mailboxes, testServer } from "../../server/testing/mod.ts";

/** A plugin whose relay takes all mail for far.example. */
function far(route: RelayRoute, name = "far") {
  return definePlugin({
    name,
    setup(on, _options, host) {
      const via = host.relay(name, route);
      on("resolve", ({ domain }) => domain === "far.example" ? accept({ via }) : undefined);
    },
  });
}

const box = mailboxes(["alice@example.org"]);
const hops = [{ host: "relay.example", port: 2525 }];

Deno.test("relay: what its route says is where mail goes, under which sender, with which fields on top", async () => {
  const asked: Target[] = [];
  await using server = await testServer({
    plugins: [
      far((recipient, message) => {
        asked.push(recipient);
        equal(message.headers.get("subject"), "x");
        if (recipient.user === "plain") return accept({ hops });
        return accept({ hops, sender: "other@example.org", headers: [["Delivered-To", recipient.original]] });
      }),
      box,
    ],
  });
  const to = ["a@far.example", "plain@far.example", "b@far.example"];
  await server.send({ from: "alice@example.org", to, content: "Subject: x\r\n\r\n" });
  deepEqual(server.sent.map(({ from, to, hops }) => [from, to, hops]), [
    ["other@example.org", ["a@far.example"], hops],
    ["alice@example.org", ["plain@far.example"], hops],
    ["other@example.org", ["b@far.example"], hops],
  ]);
  equal(/^[^\r]*/.exec(server.sent[0]!.content)![0], "Delivered-To: a@far.example");
  equal(/^[^\r:]*/.exec(server.sent[1]!.content)![0], "Received");
  const [{ sender, original, domain, user, address }] = asked as [Target];
  deepEqual([sender, original, domain, user, address], [
    "alice@example.org",
    "a@far.example",
    "far.example",
    "a",
    "a@far.example",
  ]);
});

Deno.test("relay: recipients whose way is the same go together", async () => {
  await using server = await testServer({
    plugins: [far(() => accept({ hops, sender: "one@example.org" })), box],
  });
  await server.send({ to: ["a@far.example", "b@far.example"] });
  deepEqual(server.sent.map(({ to }) => to), [["a@far.example", "b@far.example"]]);
});

Deno.test("relay: what its route leaves open, the hook `route` says, else the configuration", async () => {
  const router = definePlugin({
    name: "router",
    setup: (on) =>
      void on(
        "route",
        ({ user }) => user === "hooked" ? accept({ hops: [{ host: "hooked.example" }] }) : undefined,
      ),
  });
  await using server = await testServer({
    plugins: [
      far(({ user }) => user === "silent" ? undefined : accept({ sender: "" })),
      router,
      box,
    ],
  });
  await server.send({ to: ["hooked@far.example", "usual@far.example", "silent@far.example"] });
  deepEqual(server.sent.map(({ from, to, hops }) => [from, to[0], hops?.[0]?.host]), [
    ["", "hooked@far.example", "hooked.example"],
    ["", "usual@far.example", undefined],
    ["sender@example.net", "silent@far.example", undefined],
  ]);
});

Deno.test("relay: its refusals count, and go to the envelope's sender; its failures only wait", async () => {
  let calls = 0;
  await using server = await testServer({
    plugins: [
      far(({ user }) => {
        calls++;
        if (user === "no") return reject("5.7.1", "Not there");
        if (user === "later") return defer("4.7.1", "Not now");
        if (user === "bad") return accept({ headers: [["X", "a\nb"]] });
        if (user === "shape") return accept({ hops: [] });
        throw new Error("boom");
      }),
      box,
    ],
    outbound: { giveUpAfter: "1h", retry: ["10m"] },
  });
  const users = ["no", "later", "bad", "shape", "broken"];
  await server.send({ from: "alice@example.org", to: users.map((user) => `${user}@far.example`) });
  equal(calls, 5);
  match(server.delivered[0]!.content, /no@far\.example[^]*5\.7\.1 Not there/);
  const states = async () =>
    (await server.queue())[0]!.recipients.map(({ to, state, attempts }) =>
      `${to.split("@")[0]} ${state} ${attempts}`
    );
  deepEqual(await states(), [
    "no failed undefined",
    "later due 1",
    "bad due 0",
    "shape due 0",
    "broken due 0",
  ]);
  await server.clock.advance("2h");
  match(server.delivered.at(-1)!.content, /later@far\.example[^]*4\.7\.1 Not now/);
  deepEqual(
    (await states()).slice(2),
    ["bad due 0", "shape due 0", "broken due 0"],
    "kept until it is mended",
  );
  equal(server.log.entries.filter(({ event }) => event === "relay failed").length > 3, true);
});

Deno.test("relay: a route that never answers is late after the plugin's time-out", async () => {
  await using server = await testServer({ plugins: [far(() => new Promise(() => {})), box] });
  await server.send({ to: "a@far.example" });
  await server.clock.advance("31s");
  const [recipient] = (await server.queue())[0]!.recipients;
  equal(recipient!.state, "due");
  match(recipient!.reply, /^4\.3\.0/);
});

Deno.test("relay: a name that is gone is deferred 4.3.5 and shown, never bounced; back again, mail goes on", async () => {
  await using server = await testServer({
    plugins: [far(() => accept({ hops })), box],
    smtp: () => "unreachable",
    outbound: { giveUpAfter: "1d" },
  });
  await server.send({ from: "alice@example.org", to: "a@far.example" });
  await server.reload([box]);
  await server.clock.advance("3d");
  const [recipient] = (await server.queue())[0]!.recipients;
  match(recipient!.reply, /^4\.3\.5 No plugin has the transport "far"/);
  deepEqual(server.delivered.filter(({ content }) => /Action: failed/.test(content)), []);
  server.smtp = () => {};
  await server.reload([far(() => accept({ hops })), box]);
  await server.clock.advance("5h");
  deepEqual(server.sent.map(({ to }) => to), [["a@far.example"]]);
  deepEqual(await server.queue(), []);
});
