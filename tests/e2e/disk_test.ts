/** Disks that are full or broken (CASES Q03), and the order in which things are written (promise 1). */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { NextHop } from "./next_hop.ts";
import { run } from "./programs.ts";
import { endContent, relaying, submit, toPort } from "./relaying.ts";
import { root, ServerProcess } from "./server.ts";
import { writeSettings } from "./small_server.ts";
import { attach, strace } from "./strace.ts";

/** A disk of its own for a folder's `state`. It needs root, which CI is. */
async function mountDisk(
  folder: Folder,
  size: string,
): Promise<AsyncDisposable & { readonly filler: string }> {
  const path = folder.at("state");
  await Deno.mkdir(path);
  const mounted = await run("mount", ["-t", "tmpfs", "-o", `size=${size},mode=700`, "postrider-test", path]);
  if (mounted.code !== 0) throw new Error(`this test mounts a small disk, as root: ${mounted.stderr}`);
  return {
    filler: folder.at("state", "filler"),
    async [Symbol.asyncDispose]() {
      await run("umount", ["-l", path]); // also where something holds on to it: it goes with that
    },
  };
}

/** Takes all the space there is left. */
async function fill(filler: string): Promise<void> {
  using file = await Deno.open(filler, { write: true, create: true });
  const zeros = new Uint8Array(1024 * 1024);
  for (let size = zeros.length; size >= 1; size = Math.floor(size / 2)) {
    try {
      for (;;) await file.write(zeros.subarray(0, size));
    } catch (error) {
      match(String(error), /No space left/);
    }
  }
}

Deno.test("Q03 a full disk: 452, nothing half made, outcomes are recorded, and it goes on when there is space", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const disk = undo.use(await mountDisk(folder, "420m"));
  const [atHop, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const hop = undo.use(
    new NextHop({
      dot: async () => {
        atHop.resolve();
        await goOn.promise;
        return undefined;
      },
    }),
  );
  undo.defer(() => goOn.resolve());
  const config = await writeSettings(folder, relaying({ route: { "*": toPort(hop.port) } }));
  await using server = await ServerProcess.start(config);
  const early = await submit(server.port(), "early@remote.test");
  await atHop.promise;
  using small = await openData(server.port());
  using large = await openData(server.port());
  await fill(disk.filler);

  await small.send(`Subject: small\r\n\r\n${"0123456789\r\n".repeat(8_000)}.\r\n`);
  await small.expect(452);
  await large.send(`Subject: large\r\n\r\n${"0123456789\r\n".repeat(100_000)}.\r\n`);
  await large.expect(452);
  await small.say("MAIL FROM:<alice@example.test>", 452);
  equal((await Array.fromAsync(Deno.readDir(folder.at("state", "spool", "body")))).length, 0);
  // What is under way gets to its end, and its outcome into the reserve.
  goOn.resolve();
  await server.logged("delivered", ({ id }) => id === early);
  server.signal("SIGKILL");
  await server.ended;
  await Deno.truncate(disk.filler, (await Deno.stat(disk.filler)).size - 256 * 1024); // SQLite can't open on nothing

  await using again = await ServerProcess.start(config);
  using client = await RawClient.connect(again.port());
  await client.say("EHLO client.test");
  await client.say("MAIL FROM:<alice@example.test>", 452);
  await Deno.remove(disk.filler);
  await again.logged("spool: there is space again");
  await submit(again.port(), "late@remote.test");
  await hop.untilCount(2);
  equal(await again.stop(), 0);
  deepEqual(hop.arrivals.map(({ recipients: [one] }) => one), ["early@remote.test", "late@remote.test"]);
});

/** A transaction that waits for its content. */
async function openData(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  await client.envelope("alice@example.test", "bob@remote.test");
  return client;
}

Deno.test("Q03 a disk that can't sync: 451 as long as it lasts, and then it goes on by itself", async () => {
  await using folder = await makeFolder();
  await using hop = new NextHop();
  await using server = await ServerProcess.start(
    await writeSettings(folder, relaying({ route: { "*": toPort(hop.port) } })),
  );
  await submit(server.port(), "before@remote.test");
  await hop.untilCount(1);
  const clients = await Promise.all([1, 2, 3].map(() => openData(server.port())));
  const tracer = await attach(server.pid, ["-e", "inject=fdatasync:error=EIO"]);
  // Whoever was let in before is told after the dot; from then on it is said at MAIL.
  for (const client of clients) {
    await client.send(`Subject: refused\r\n\r\nHello.\r\n.\r\n`);
    await client.expect(451);
  }
  await clients[0]!.say("MAIL FROM:<alice@example.test>", 451);
  for (const client of clients) client[Symbol.dispose]();
  await server.logged("spool: can't write");
  await tracer.detach();
  await server.logged("spool: can write again");
  await submit(server.port(), "after@remote.test");
  await hop.untilCount(2);
  equal(await server.stop(), 0);
  deepEqual(hop.arrivals.map(({ recipients: [one] }) => one), ["before@remote.test", "after@remote.test"]);
});

Deno.test("Q03 single faults under load: each message is answered 250 and comes, or 4xx and doesn't", async () => {
  await using folder = await makeFolder();
  await using hop = new NextHop();
  const config = await writeSettings(folder, relaying({ route: { "*": toPort(hop.port) } }));
  await using server = await ServerProcess.start(config);
  // Counted by thread: the third there, and each fifth behind it.
  const tracer = await attach(server.pid, ["-e", "inject=fdatasync:error=EIO:when=3+5"]);
  const answers = new Map<string, number>();
  await Promise.all(Array.from({ length: 5 }, async (_, session) => {
    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    for (let i = 0; i < 20; i++) {
      const name = `bob${session}-${i}@remote.test`;
      answers.set(name, await answerTo(client, name));
    }
  }));
  await tracer.detach();
  const kept = [...answers].filter(([, code]) => code === 250).map(([name]) => name);
  await hop.untilCount(kept.length);
  equal(await server.stop(), 0);
  deepEqual(hop.arrivals.map(({ recipients: [one] }) => one!).sort(), kept.sort());
  const refused = [...answers.values()].filter((code) => code !== 250);
  ok(server.log.some(({ event }) => event === "spool: can't write"), "no fault was injected");
  ok(refused.every((code) => code === 451 || code === 452), String(refused));
});

/** Sends a message; the first reply that says no, else the last. */
async function answerTo(client: RawClient, recipient: string): Promise<number> {
  await client.send("MAIL FROM:<alice@example.test>\r\n");
  const { code } = await client.reply();
  if (code !== 250) return code;
  await client.say(`RCPT TO:<${recipient}>`);
  await client.say("DATA", 354);
  await client.send(`Subject: ${recipient}\r\n\r\nHello.\r\n.\r\n`);
  return (await client.reply()).code;
}

Deno.test("promise 1: fdatasync has come back before 250 is written", async () => {
  await using folder = await makeFolder();
  await using hop = new NextHop();
  const config = await writeSettings(folder, relaying({ route: { "*": toPort(hop.port) } }));
  const trace = folder.at("trace");
  const deno = [Deno.execPath(), "run", "-A", `${root}mod.ts`];
  const command = strace([
    "-e",
    "trace=read,recvfrom,recvmsg,fdatasync,write,writev,sendto,sendmsg",
    "-s",
    "64",
    "-o",
    trace,
  ], deno);
  {
    await using server = await ServerProcess.start(config, { command });
    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    for (let i = 0; i < 5; i++) {
      await client.envelope("alice@example.test", `bob${i}@remote.test`);
      await endContent(client, `Subject: ${i}\r\n\r\nHello ${i}.\r\n`);
    }
    await hop.untilCount(5);
    equal(await server.stop(), 0);
  }
  const lines = (await Deno.readTextFile(trace)).split("\n");
  let from = 0;
  for (let i = 0; i < 5; i++) {
    const find = (what: RegExp) => lines.findIndex((line, at) => at >= from && what.test(line));
    const dot = find(new RegExp(`"Subject: ${i}\\\\r`));
    ok(dot >= 0, `the content of message ${i} is not in the trace`);
    from = dot;
    const [synced, told] = [find(/fdatasync(\(| resumed).*= 0$/), find(/"250 2\.0\.0 Queued as/)];
    ok(synced >= 0 && told >= 0 && synced < told, lines.slice(dot, told + 1).join("\n"));
    from = told + 1;
  }
});
