/** The queue's commands on a real server, and on the queue it leaves behind when it is killed. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { makeFolder } from "./folder.ts";
import { freePort } from "./ports.ts";
import { relaying, submit, toPort } from "./relaying.ts";
import { postrider, ServerProcess } from "./server.ts";
import { startSink } from "./sink.ts";
import { mailboxOf, writeSettings } from "./small_server.ts";

Deno.test("queue: redirected on a running server to a host, an address and back; the mail is there once", async () => {
  await using folder = await makeFolder();
  await using sink = await startSink(folder.at("sink"));
  const config = await writeSettings(folder, relaying({ route: { "*": toPort(freePort()) } }));
  await using server = await ServerProcess.start(config);
  const queue = async (...args: string[]) => await postrider(["queue", ...args, "--config", config]);
  const port = server.port();
  const ids: string[] = [];
  for (const to of ["a@one.test", "b@two.test", "c@three.test"]) {
    ids.push(await submit(port, to, { subject: to }));
  }
  ids.push(await submit(port, ["d@four.test", "e@four.test"], { subject: "both" }));
  // The fourth is never tried: its destination sleeps by then.
  for (const id of ids.slice(0, 3)) await server.logged("deferred", (line) => line.id === id);

  const host = await queue("redirect", ids[0]!, "--host", `127.0.0.1:${sink.port}`);
  deepEqual([host.code, host.stdout], [0, `${ids[0]} goes to 127.0.0.1:${sink.port}.\n`]);
  await server.logged("delivered", ({ id }) => id === ids[0]);
  match((await sink.taken())[0]!, /X-Rcpt-Args: <a@one\.test>/);

  const address = await queue(
    "redirect",
    "--where",
    "domain = four.test",
    "--to",
    "archive@example.test",
    "--yes",
  );
  deepEqual([address.code, address.stdout], [0, "1 message is redirected to archive@example.test.\n"]);
  await server.logged("delivered", ({ id, to }) => id === ids[3] && to === "archive@example.test");
  const files = Array.from(Deno.readDirSync(`${mailboxOf(folder, "archive")}/new`));
  equal(files.length, 1, "both recipients are one mailbox now, which has one copy");
  await server.logged("delivered", ({ id }) => id === ids[3]);

  equal((await queue("redirect", ids[1]!, "--transport", "pigeon")).code, 1);
  const list = await queue("list", "--json");
  deepEqual((JSON.parse(list.stdout) as { id: string }[]).map(({ id }) => id), [ids[1], ids[2]]);
});

Deno.test("queue: Q01 a redirect that was answered is on the disk: killed behind it, the mail goes there and nowhere else", async () => {
  await using folder = await makeFolder();
  await using old = await startSink(folder.at("old"), ["-r", "rcpt"]); // 450 at first
  await using other = await startSink(folder.at("other"));
  const config = await writeSettings(folder, relaying({ route: { "*": toPort(old.port) } }));
  const queue = async (...args: string[]) => await postrider(["queue", ...args, "--config", config]);
  const ids: string[] = [];
  {
    await using server = await ServerProcess.start(config);
    for (let i = 0; i < 20; i++) {
      ids.push(await submit(server.open[0]!.port as number, `u${i}@one.test`, { subject: `${i}` }));
    }
    for (const id of ids) await server.logged("deferred", (line) => line.id === id);
    const where = ["--where", "domain = one.test and recipient ~ 1*@", "--yes"];
    equal((await queue("hold", ...where)).code, 0);
    const way = ["--to", "new@two.test", "--host", `127.0.0.1:${other.port}`];
    match(
      (await queue("redirect", ...where, ...way)).stdout,
      /^11 messages are redirected to new@two\.test by /,
    );
    server.signal("SIGKILL");
    await server.ended;
  }
  equal(
    (await queue("release", "--where", "state = held", "--yes")).stdout,
    "11 messages are released, and tried when the server starts.\n",
  );
  await using server = await ServerProcess.start(config);
  const moved = ids.filter((_, i) => String(i).includes("1"));
  for (const id of moved) await server.logged("delivered", (line) => line.id === id);
  const taken = await other.taken();
  equal(taken.length, 11);
  ok(taken.every((text) => text.includes("X-Rcpt-Args: <new@two.test>")));
  deepEqual(await old.taken(), []);
});
