/** From what an observed plugin says in a session to what is counted of it: the server whole, in memory. */
import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { Observations, storeName, sumUp } from "../../server/observe/observations.ts";
import { Watching } from "../../server/observe/watching.ts";
import { report } from "../../server/cli/observe.ts";
import { memoryStore } from "../../server/store.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { Server } from "../../server/server.ts";
import { main } from "../../server/cli/main.ts";
import { systemCli } from "../../server/cli/io.ts";
import { RawClient } from "../e2e/client.ts";

const heard = { hook: "rcpt", plugin: "p", observed: true } as const;
const no = { verdict: "reject", status: "5.7.1", text: "No" } as const;

function rig() {
  const clock = new FakeClock();
  const stores = memoryStore(clock);
  const counted: string[] = [];
  const observations = new Observations(stores, clock, memoryLog());
  const watching = new Watching(observations, { observed: (...all) => void counted.push(all.join(" ")) });
  return {
    watching,
    counted,
    async sum() {
      await observations.close();
      return await sumUp(stores.for(storeName), clock.now(), clock.now());
    },
  };
}

Deno.test("watching: what the others refuse anyway is no change, what they accept is, what never came is neither", async () => {
  const { watching, counted, sum } = rig();
  const say = () =>
    watching.heard({ ...heard, said: no, about: "a@b.example" }, { ip: "192.0.2.1", sender: "x@y.example" });
  say();
  watching.answered("transaction", true);
  deepEqual(counted, ["p reject 5.7.1 refused"]);
  say();
  watching.answered("transaction", false);
  equal(counted.length, 1, "not known yet");
  watching.transactionOver("accepted");
  say();
  watching.answered("transaction", false);
  watching.sessionOver(1);
  deepEqual(counted.slice(1), ["p reject 5.7.1 accepted", "p reject 5.7.1 none"]);
  const [word] = await sum();
  deepEqual(word!.fates, { accepted: 1, refused: 1, none: 1 });
  equal(word!.examples[0]!.about, "192.0.2.1 <x@y.example> → <a@b.example>");
});

Deno.test("watching: what is said of a session is judged by whether any mail came of it", () => {
  const { watching, counted } = rig();
  watching.heard({ ...heard, hook: "connect", said: no }, { ip: "192.0.2.1" });
  watching.answered("session", false);
  watching.transactionOver("accepted");
  deepEqual(counted, []);
  watching.sessionOver(1);
  deepEqual(counted, ["p reject 5.7.1 accepted"]);
});

Deno.test("watching: failures and edits are words, too", () => {
  const { watching, counted } = rig();
  watching.heard({ ...heard, said: "failed", why: "Error: x" }, { ip: "192.0.2.1" });
  watching.heard({ ...heard, said: "nothing", edits: ["prependHeader X-Spam"] }, { ip: "192.0.2.1" });
  watching.heard({ ...heard, said: { verdict: "accept", claim: {} } }, { ip: "192.0.2.1" });
  watching.transactionOver("refused");
  deepEqual(counted, ["p failed refused", "p edits refused", "p accept refused"]);
});

Deno.test("observe: a server counts, `observe report` sums up while it runs and when it is stopped", async () => {
  const folder = await Deno.makeTempDir({ prefix: "postrider-observe-" });
  await Deno.writeTextFile(
    `${folder}/trial.js`,
    `export default ({ definePlugin, reject }) => definePlugin({ name: "trial", setup(on) {
      on("rcpt", (_session, { user }) => user === "alice" ? reject("5.7.1", "Not this one") : undefined);
    } });`,
  );
  const config = `${folder}/postrider.yaml`;
  await Deno.writeTextFile(
    config,
    `hostname: mx.example.org
state: ./state
listen: [{ port: 0, address: 127.0.0.1 }]
log: { level: error }
plugins:
  - { use: ./trial.js, observe: true }
  - { use: maildir, with: { domains: [example.org], users: [alice, bob], path: "./mail/{user}" } }
`,
  );
  const told = async (...args: string[]) => {
    let out = "";
    const cli = { ...systemCli, stdout: { write: (text: string) => void (out += text) } };
    const code = await main(["observe", "report", "--config", config, ...args], cli);
    return { code, out };
  };
  match((await told()).out, /^\.\/trial\.js: nothing said in the last 3d\n$/);
  const server = await Server.start(config);
  try {
    using client = await RawClient.connect(server.open[0]!.port);
    await client.say("EHLO client.example");
    for (const to of ["alice@example.org", "bob@example.org"]) {
      await client.envelope("x@elsewhere.example", to);
      await client.say("Subject: x\r\n\r\nHello\r\n.");
    }
    await client.say("QUIT", 221);
  } finally {
    await server.stop();
  }
  const { code, out } = await told("--since", "1h");
  equal(code, 0);
  match(out, /^trial +rcpt +reject 5\.7\.1 +1 +0 +0 +1$/m);
  match(out, /trial would have refused: reject 5\.7\.1 Not this one/);
  const [word] = JSON.parse((await told("--json")).out);
  deepEqual([word.plugin, word.fates.accepted, word.changes], ["trial", 1, 1]);
  equal((await told("--since", "soon")).code, 2);
  equal((await told("--since", "30d")).code, 2);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("observe report: it fits into 80 columns, and control characters stay out of the terminal", () => {
  const lines = report(
    [{
      plugin: "a-plugin-with-a-very-long-name-indeed-longer-than-others",
      hook: "dataFor",
      said: "disconnect 5.7.1",
      fates: { accepted: 123456, refused: 7, none: 0 },
      examples: [{ time: 0, about: "192.0.2.1 <\x1b[31m@x>", text: "reject 5.7.1 \x07", fate: "accepted" }],
    }],
    "3d",
    [],
    80,
  );
  for (const line of lines) equal(line.length <= 80 || line.includes("would have"), true, line);
  // deno-lint-ignore no-control-regex -- that there is none
  equal(/[\x00-\x1f]/.test(lines.join("")), false);
});
