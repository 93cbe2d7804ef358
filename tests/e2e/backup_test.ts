/** A copy of a running server's state, made under load, and a server that starts from it. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { relaying, submit, toPort } from "./relaying.ts";
import { postrider, ServerProcess } from "./server.ts";
import { startSink } from "./sink.ts";
import { mailboxOf, writeSettings } from "./small_server.ts";

const small = "x".repeat(2_000);
/** A content that has a file of its own, which goes as soon as it is delivered. */
const large = `${"y".repeat(998)}\r\n`.repeat(300);

/** Sends until it is told to stop; the subjects that were answered with 250, in their order. */
async function load(
  port: number,
  name: string,
  isOver: () => boolean,
  acknowledged: string[],
): Promise<void> {
  using client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  for (let i = 0; !isOver(); i++) {
    const subject = `${name}-${i}`;
    // Some waits for a server that is down, some is delivered meanwhile: its files would go.
    const to = i % 2 === 0 ? `${name}@down.test` : `${name}@up.test`;
    await client.envelope("alice@example.test", to);
    await client.say(`Subject: ${subject}\r\n\r\n${i % 5 === 1 ? large : small}\r\n.`);
    acknowledged.push(subject);
  }
  await client.say("QUIT", 221);
}

const subjectsOf = (messages: readonly string[]) =>
  messages.map((text) => /^Subject: (.*)$/m.exec(text)?.[1] ?? "").filter((subject) => subject !== "");

Deno.test("backup: made under load, all that was acknowledged before it is delivered by who starts from it, or was before", async () => {
  await using folder = await makeFolder();
  await using up = await startSink(folder.at("up"));
  const down = freePort();
  const route = { "up.test": toPort(up.port), "down.test": toPort(down) };
  const config = await writeSettings(folder, relaying({ route }));
  const acknowledged: string[] = [];
  let before: readonly string[] = [];
  {
    await using server = await ServerProcess.start(config);
    let isOver = false;
    const clients = [1, 2, 3, 4].map((n) => load(server.port(), `client${n}`, () => isOver, acknowledged));
    await server.logged("message accepted", () => acknowledged.length > 60);
    before = [...acknowledged];
    const made = await postrider(["backup", "--config", config, folder.at("copy")]);
    equal(made.code, 0, made.stderr);
    match(made.stdout, /^\/.*\/copy is a copy of \/.*\/state: \d+ octets, \d+ messages in the queue\.\n$/);
    const during = acknowledged.length;
    ok(during > before.length, "mail went on meanwhile");
    isOver = true;
    await Promise.all(clients);
    // The machine is lost: its disk, and all that came after the copy.
    server.signal("SIGKILL");
    await server.ended;
  }
  const deliveredBefore = subjectsOf(await up.taken());
  await Deno.rename(folder.at("state"), folder.at("lost"));
  await Deno.rename(folder.at("copy"), folder.at("state"));
  await using other = await startSink(folder.at("other"));
  const restored = await writeSettings(folder, relaying({ route: { "*": toPort(other.port) } }));
  await using server = await ServerProcess.start(restored);
  const { queued } = await server.logged(
    "started from a backup: what was delivered since it was made is delivered again",
  );
  ok(Number(queued) >= before.filter((subject) => !deliveredBefore.includes(subject)).length);
  const isThere = async () => {
    const { stdout } = await postrider(["queue", "retry", "--all", "--yes", "--config", restored]);
    return /^0 messages/.test(stdout) &&
      (JSON.parse((await postrider(["queue", "list", "--json", "--config", restored])).stdout) as unknown[])
          .length === 0;
  };
  while (!await isThere());
  const deliveredLater = subjectsOf(await other.taken());
  const all = new Set([...deliveredBefore, ...deliveredLater]);
  deepEqual(before.filter((subject) => !all.has(subject)), [], "acknowledged before the backup, and nowhere");
  equal(new Set(deliveredLater).size, deliveredLater.length, "the copy holds each message once");
  deepEqual(
    await Array.fromAsync(Deno.readDir(folder.at("state", "spool")), ({ name }) => name).then((names) =>
      names.filter((name) => name === "corrupt")
    ),
    [],
  );
  equal(await server.stop(), 0);
  await using again = await ServerProcess.start(restored);
  ok(!again.log.some(({ event }) => event.startsWith("started from a backup")), "it is said once");
});

Deno.test("backup: of what plugins keep, of a stopped server, and never over something", async () => {
  await using folder = await makeFolder();
  const config = await writeSettings(folder, relaying({ route: { "*": toPort(freePort()) } }));
  const to = (name: string) => postrider(["backup", "--config", config, folder.at(name)]);
  const never = await to("copy");
  deepEqual([never.code, /^No server has run/.test(never.stderr)], [1, true]);
  {
    await using server = await ServerProcess.start(config);
    const id = await submit(server.port(), "a@down.test");
    await server.logged("deferred", (line) => line.id === id);
    await submit(server.port(), "bob@example.test");
    await Deno.mkdir(folder.at("state", "plugins", "mine"), { recursive: true });
    await Deno.writeTextFile(folder.at("state", "plugins", "mine", "notes"), "remember");
    equal((await to("running")).code, 0);
    const there = await to("running");
    deepEqual([there.code, there.stderr], [
      1,
      `${folder.at("running")} is there already: name a directory that isn't.\n`,
    ]);
    equal((await to("no/such/folder")).code, 1);
    equal(await server.stop(), 0);
  }
  equal((await to("stopped")).code, 0);
  for (const copy of ["running", "stopped"]) {
    equal(await Deno.readTextFile(folder.at(copy, "plugins", "mine", "notes")), "remember");
    equal((await Deno.stat(folder.at(copy))).mode! & 0o777, 0o700);
    const names = Array.from(Deno.readDirSync(folder.at(copy)), ({ name }) => name).sort();
    deepEqual(names, ["backup.json", "plugins", "spool", "store.db", "tracking.db"]);
    const spool = Array.from(Deno.readDirSync(folder.at(copy, "spool")), ({ name }) => name);
    ok(spool.every((name) => /\.(hot|cold)$|^body$/.test(name)), spool.join());
    const settings = (await Deno.readTextFile(config)).replace("./state", `./${copy}`);
    await Deno.writeTextFile(folder.at(`${copy}.yaml`), settings);
    const list = await postrider(["queue", "list", "--json", "--config", folder.at(`${copy}.yaml`)]);
    deepEqual(
      (JSON.parse(list.stdout) as { recipients: { address: string }[] }[]).map(({ recipients }) =>
        recipients[0]!.address
      ),
      ["a@down.test"],
    );
  }
  equal(Array.from(Deno.readDirSync(`${mailboxOf(folder, "bob")}/new`)).length, 1);
});
