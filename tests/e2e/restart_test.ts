/** Mail that waits while the server goes and comes (CASES Q05, Q07). */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { readNew, untilMaildirs } from "./mailbox.ts";
import { NextHop } from "./next_hop.ts";
import { endContent, relaying, submit, toPort } from "./relaying.ts";
import { readReport, type Report } from "./report.ts";
import { ServerProcess } from "./server.ts";
import { mailboxOf, writeSettings } from "./small_server.ts";

Deno.test("Q07 deferred mail outlives SIGTERM and a restart, and is delivered once", async () => {
  await using folder = await makeFolder();
  let isBusy = true;
  await using hop = new NextHop({ dot: () => isBusy ? "451 4.3.2 Come again" : undefined });
  const route = { "*": toPort(hop.port) };
  const config = await writeSettings(folder, relaying({ route, retry: ["1s"] }));
  const ids = new Set<unknown>();
  {
    await using server = await ServerProcess.start(config);
    for (let i = 0; i < 10; i++) ids.add(await submit(server.port(), `bob${i}@remote.test`));
    for (const id of ids) await server.logged("deferred", (line) => line["id"] === id);
    equal(await server.stop(), 0);
  }
  equal(hop.arrivals.length, 0);
  isBusy = false;
  await using server = await ServerProcess.start(config);
  await hop.untilCount(10);
  for (const id of ids) await server.logged("delivered", (line) => line["id"] === id);
  equal(await server.stop(), 0);
  deepEqual(
    hop.arrivals.flatMap(({ recipients }) => recipients).sort(),
    Array.from({ length: 10 }, (_, i) => `bob${i}@remote.test`),
  );
});

Deno.test("Q07 SIGTERM under load: exit 0 within 30 s, nothing acknowledged is lost, nothing comes twice", async () => {
  await using folder = await makeFolder();
  await using hop = new NextHop();
  const config = await writeSettings(folder, relaying({ route: { "*": toPort(hop.port) }, retry: ["1s"] }));
  const acknowledged = new Set<string>();
  {
    await using server = await ServerProcess.start(config);
    const stopping = Promise.withResolvers<number>();
    const sessions = Array.from({ length: 8 }, async (_, session) => {
      using client = await RawClient.connect(server.port());
      await client.say("EHLO client.test");
      for (let i = 0;; i++) {
        const name = `${session}-${i}`;
        await client.envelope("alice@example.test", `bob@${name}.test`);
        await endContent(client, `Subject: ${name}\r\n\r\nHello.\r\n`);
        acknowledged.add(name);
        if (acknowledged.size === 400) {
          stopping.resolve(performance.now());
          server.signal("SIGTERM");
        }
      }
    });
    // Each ends with 421, or with a connection that is closed: nothing else.
    for (const { reason } of await Promise.allSettled(sessions) as PromiseRejectedResult[]) {
      ok(/421 4\.3\.2|closed after ""|reset|Broken pipe/i.test(String(reason)), String(reason));
    }
    equal(await server.ended, 0);
    ok(performance.now() - await stopping.promise < 30_000);
  }
  await using server = await ServerProcess.start(config);
  const delivered = () =>
    hop.arrivals.map(({ content }) => /^Subject: (.*)\r$/m.exec(content.toString("latin1"))![1]!);
  await hop.untilCount(acknowledged.size);
  equal(await server.stop(), 0);
  const all = delivered();
  equal(new Set(all).size, all.length, "twice");
  deepEqual([...acknowledged].filter((name) => !all.includes(name)), []);
});

Deno.test("Q05 what is never taken: the sender hears that it is late, then that it failed, each once", async () => {
  await using folder = await makeFolder();
  await using hop = new NextHop({ rcpt: () => "451 4.2.1 This mailbox sleeps" });
  const outbound = {
    route: { "*": toPort(hop.port) },
    retry: ["1s"],
    delayNoticeAfter: "1s",
    giveUpAfter: "3s",
  };
  await using server = await ServerProcess.start(await writeSettings(folder, relaying(outbound)));
  await submit(server.port(), "bob@remote.test", { subject: "wake up" });
  const list = ["From: list@example.test", "List-Id: <list.example.test>", "Subject: to many"];
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.envelope("list@example.test", "bob@remote.test");
  await endContent(client, `${list.join("\r\n")}\r\n\r\nHello.\r\n`);
  const reports: Record<string, Report[]> = { alice: [], list: [] };
  const mailboxes = Object.keys(reports).map((user) => mailboxOf(folder, user));
  await untilMaildirs(mailboxes, async (mailbox, name) => {
    const report = await readReport(await readNew(mailbox, name));
    reports[mailbox === mailboxes[0] ? "alice" : "list"]!.push(report);
    return reports["alice"]!.length === 2 && reports["list"]!.length === 1;
  });
  const said = (user: string) =>
    reports[user]!.map(({ recipients: [one] }) => [one!["action"], one!["status"], one!["diagnostic-code"]]);
  const diagnostic = "smtp; 451 4.2.1 This mailbox sleeps";
  const inOrder = said("alice").sort();
  deepEqual(inOrder, [["delayed", "4.2.1", diagnostic], ["failed", "4.2.1", diagnostic]]);
  // A list gets no word of delays, which is for people (RFC 3834 §2).
  deepEqual(said("list"), [["failed", "4.2.1", diagnostic]]);
  equal(await server.stop(), 0);
});
