/** `explain`: what an operator is told, and that nothing comes of it. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../server/cli/main.ts";
import { systemCli } from "../../server/cli/io.ts";
import { explainCommand, type ExplainOptions } from "../../server/cli/explain.ts";
import { systemClock } from "../../server/clock.ts";
import type { Explanation } from "../../server/explain/explanation.ts";
import { openStore } from "../../server/store.ts";

interface Explained {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** With `json`. */
  readonly data: Explanation;
}

interface Place extends AsyncDisposable {
  at(...names: string[]): string;
  /** In 80 columns. */
  explain(options?: Partial<ExplainOptions>, columns?: number): Promise<Explained>;
}

const maildir =
  "  - { use: maildir, with: { domains: [example.org], users: [alice], path: './mail/{user}' } }";
const head =
  "hostname: mx.example.org\nstate: ./state\nlisten: [{ port: 0, address: 127.0.0.1 }]\nplugins:\n";

/** A configuration and its plugins. */
async function place(plugins: readonly string[], files: Record<string, string> = {}): Promise<Place> {
  const folder = await Deno.makeTempDir({ prefix: "postrider-explained-" });
  const config = join(folder, "postrider.yaml");
  await Deno.writeTextFile(config, `${head}${plugins.join("\n")}\n`);
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(join(folder, name), text);
  return {
    at: (...names) => join(folder, ...names),
    async explain(options = {}, columns = 80) {
      let [out, err] = ["", ""];
      const io = {
        ...systemCli,
        clock: systemClock,
        columns: () => columns,
        stdout: { write: (text: string) => void (out += text) },
        stderr: { write: (text: string) => void (err += text) },
      };
      const from = "bob@elsewhere.example";
      const code = await explainCommand({ config, from, to: ["alice@example.org"], ...options }, io);
      return {
        code,
        out: out.replaceAll(folder, "DIR"),
        err,
        data: options.json ? JSON.parse(out) : undefined!,
      };
    },
    async [Symbol.asyncDispose]() {
      await Deno.remove(folder, { recursive: true });
    },
  };
}

const plugin = (name: string, setup: string) =>
  `export default ({ definePlugin, accept, because, defer, reject, disconnect, fact }) =>
  definePlugin({ name: "${name}", setup(on, _options, host) { ${setup} } });\n`;

Deno.test("explain: the whole way of a message, in 80 columns", async () => {
  await using here = await place(["  - { use: relay, with: { networks: [10.0.0.0/8] } }", maildir]);
  const { code, out } = await here.explain();
  equal(code, 0);
  const shown = out.replaceAll(/ +\d+\.\d ms/g, " N ms").replaceAll(/Delivered as \S+/g, "Delivered as ID")
    .replace(/, \d+ octets/, ", N octets").replace("DIR/postrider.yaml:\n ", "DIR/postrider.yaml:");
  deepEqual(shown.split("\n"), [
    "DIR/postrider.yaml: <bob@elsewhere.example> → alice@example.org",
    "192.0.2.1, role mx, HELO [192.0.2.1], in the clear",
    "a message made up, N octets",
    "",
    "connect → 220 mx.example.org ESMTP ready",
    "EHLO [192.0.2.1] → 250 mx.example.org",
    "MAIL FROM:<bob@elsewhere.example> → 250 2.1.0 Sender OK",
    "RCPT TO:<alice@example.org>",
    "├ rcpt     relay     - N ms",
    "├ resolve  maildir   accept via maildir N ms",
    "│             because users (line 6)",
    "└ → 250 2.1.5 Recipient OK",
    "message → 250 2.0.0 Delivered as ID",
    "",
    "would go to alice@example.org by maildir, before the client is answered",
    "",
    "alice@example.org: accepted, 250 2.0.0 Delivered as ID",
    "",
  ]);
});

Deno.test("explain: who would be asked only in the queue is said, and isn't asked", async () => {
  const files = { "scan.js": plugin("scan", `on("data", () => reject("5.7.1", "Bad"));`) };
  await using here = await place(["  - { use: ./scan.js, when: queued }", maildir], files);
  const { code, out } = await here.explain();
  equal(code, 0);
  ok(!out.includes("before the client is answered"), out);
  match(
    out.replaceAll(/\s+/g, " "),
    /scan would be asked once the message is queued \(`when: queued`\): a dry run queues none\./,
  );
});

Deno.test("explain: that a message would be held is said, with why", async () => {
  const files = {
    "odd.js": plugin("odd", `on("data", (_s, _m, transaction) => transaction.hold("looks odd"));`),
  };
  await using here = await place(["  - ./odd.js", maildir], files);
  const { code, out } = await here.explain();
  equal(code, 0);
  match(
    out.replaceAll(/\s+/g, " "),
    /it would be held in the queue until somebody releases it: odd: looks odd\./,
  );
  ok(!out.includes("before the client is answered"), out);
});

Deno.test("explain: exit codes by outcome; who refused is named", async () => {
  const files = {
    "judge.js": plugin(
      "judge",
      `on("rcpt", (_s, { user }) => user === "later" ? because("a rule of ours", defer("4.7.1", "Later")) : undefined);`,
    ),
  };
  await using here = await place(["  - ./judge.js", maildir], files);
  const codes = async (...to: string[]) => (await here.explain({ to })).code;
  equal(await codes("alice@example.org"), 0);
  equal(await codes("later@example.org"), 3);
  equal(await codes("alice@example.org", "later@example.org"), 3, "the worst of them");
  equal(await codes("later@example.org", "nobody@example.org"), 4);
  const { data } = await here.explain({
    to: ["later@example.org", "nobody@example.org", "x@other.example"],
    json: true,
  });
  deepEqual(data.steps.slice(3).map(({ by, reply }) => [by, reply.code, reply.text]), [
    ["judge", 451, "4.7.1 Later"],
    ["maildir", 550, "5.1.1 No such mailbox here"],
    ["core", 550, "5.7.1 We do not relay for you to this address"],
  ]);
  const turn = data.steps[3]!.turns[0]!;
  deepEqual([turn.said, turn.rule, turn.place.split("/").at(-1)], [
    "defer 4.7.1 Later",
    "a rule of ours",
    "postrider.yaml:5",
  ]);
});

Deno.test("explain: plugins see a dry run; who takes a message whole isn't asked, reports aren't told", async () => {
  const files = {
    "spy.js": plugin(
      "spy",
      `
      const see = (hook) => on(hook, (...given) => { host.log.info(hook, { dryRun: given.at(-1).dryRun }); });
      for (const hook of ["connect", "helo", "mail", "rcpt", "resolve", "data", "dataFor", "route"]) see(hook);
      const taken = host.state + "/taken";
      for (const hook of ["queue", "rejected", "disconnect", "delivered"]) {
        on(hook, () => { host.log.error(hook); Deno.writeTextFileSync("${"DIR"}/" + hook, "x"); });
      }`,
    ),
  };
  await using here = await place([
    "  - ./spy.js",
    "  - { use: relay, with: { networks: [192.0.2.1] } }",
    maildir,
  ]);
  await Deno.writeTextFile(here.at("spy.js"), files["spy.js"].replace("DIR", here.at()));
  const { data, code } = await here.explain({ to: ["x@other.invalid", "no@example.org"], json: true });
  equal(code, 4);
  const logged = data.steps.flatMap(({ log }) => log);
  deepEqual([...new Set(logged.map((line) => line.replace(/^info +(\S+) .*?(dryRun=\S+).*/, "$1 $2")))], [
    "connect dryRun=true",
    "helo dryRun=true",
    "mail dryRun=true",
    "rcpt dryRun=true",
    "resolve dryRun=true",
    "data dryRun=true",
    "dataFor dryRun=true",
    "route dryRun=true",
  ]);
  deepEqual(data.notes, ["spy would be asked to take the whole message: a dry run doesn't."]);
  match(data.copies[0]!.next!, /^(failed|deferred): |MX/);
  for (const hook of ["queue", "rejected", "disconnect", "delivered"]) {
    equal(await Deno.stat(here.at(hook)).then(() => true, () => false), false, hook);
  }
});

Deno.test("explain: nothing is written: no state, no mailbox, no change of what plugins have stored", async () => {
  const files = {
    "counter.js": plugin(
      "counter",
      `
      const seen = host.provides(fact("seen"));
      on("mail", async (_session, t) => {
        await host.submit({ sender: "", recipients: ["alice@example.org"], content: "Subject: x\\r\\n\\r\\n" });
        Deno.writeTextFileSync(host.state + "/file", "x");
        seen(t, await host.store.increment("n", 1, { ttl: "1d" }));
      });`,
    ),
  };
  await using here = await place(["  - ./counter.js", maildir], files);
  const first = await here.explain({ json: true });
  deepEqual(first.data.steps[2]!.facts, [{ fact: "seen", value: 1, plugin: "counter" }]);
  match(first.data.steps[2]!.log[0]!, /would send a message of its own/);
  deepEqual([...Deno.readDirSync(here.at())].map(({ name }) => name).sort(), [
    "counter.js",
    "postrider.yaml",
  ]);

  await Deno.mkdir(here.at("state", "plugins", "counter"), { recursive: true });
  await Deno.writeTextFile(here.at("state", "plugins", "counter", "file"), "kept");
  const store = await openStore(here.at("state", "store.db"), systemClock);
  await store.for("counter").set("n", 41, { ttl: "1d" });
  const beside = await here.explain({ json: true });
  deepEqual(beside.data.steps[2]!.facts[0]!.value, 42);
  equal(await store.for("counter").get("n"), 41);
  await store.close();
  equal((await here.explain({ json: true })).data.steps[2]!.facts[0]!.value, 42, "without a server, too");
  equal(await Deno.readTextFile(here.at("state", "plugins", "counter", "file")), "kept");
  deepEqual([...Deno.readDirSync(here.at("state"))].map(({ name }) => name).sort(), ["plugins", "store.db"]);
});

Deno.test("explain: observed plugins are shown with what they would have done", async () => {
  const files = {
    "trial.js": plugin(
      "trial",
      `
      const tell = host.provides(fact("trial"));
      on("rcpt", (_s, _r, t) => { tell(t, 1); return reject("5.7.1", "No"); });
      on("data", (_s, message, t) => { message.prependHeader("X-Trial", "1"); t.setSender("x@example.org"); });`,
    ),
  };
  await using here = await place(["  - { use: ./trial.js, observe: true }", maildir], files);
  const { code, data } = await here.explain({ json: true });
  equal(code, 0);
  const turns = data.steps.flatMap(({ turns }) => turns).filter(({ observed }) => observed);
  deepEqual(turns.map(({ hook, said, edits }) => [hook, said, edits]), [
    ["rcpt", "reject 5.7.1 No", undefined],
    ["data", "-", ["prependHeader X-Trial", "setSender"]],
  ]);
  deepEqual(data.steps.flatMap(({ facts }) => facts), []);
  match((await here.explain()).out, /reject 5\.7\.1 No \(only observed\)/);
});

Deno.test("explain: a plugin that fails is told with why; a long answer is wrapped, never cut", async () => {
  const text = "a reason that goes on ".repeat(15).trim();
  const files = {
    "broken.js": plugin("broken", `on("mail", () => { throw new Error("out of order"); });`),
    "wordy.js": plugin("wordy", `on("rcpt", () => reject("5.7.1", "${text}"));`),
  };
  await using broken = await place(["  - ./broken.js", maildir], files);
  const { code, out } = await broken.explain();
  equal(code, 3);
  match(out, /mail +broken +failed[^]*out of order[^]*→ 451 4\.3\.0/);
  await using wordy = await place(["  - ./wordy.js", maildir], files);
  for (const columns of [40, 80, 132]) {
    const { out } = await wordy.explain({}, columns);
    const [first, ...lines] = out.split("\n");
    ok(first!.length > 0);
    // The first line holds the configuration's path, which may be longer than a narrow terminal.
    for (const line of lines) ok(line.length <= columns || line.includes("postrider.yaml"), line);
    equal(
      out.replaceAll(/ +\d+\.\d ms\n/g, " ").replaceAll(/[\s│└├→]+/g, " ").split("reason that goes on")
        .length,
      46,
      "three times, whole",
    );
  }
});

Deno.test("explain: an account is taken to have logged in, with the addresses of its own", async () => {
  const users =
    "alice@example.org: { password: '$scrypt$ln=15,r=8,p=1$bg/SyFof0pTXzKmmfedhNw$sv9O1Dzb0SgSAKHvcW2khN6jLQ/onWv/qudYDFydMzQ', sendAs: [sales@example.org] }\n";
  await using here = await place(["  - { use: auth, with: { users: users.yaml } }", maildir], {
    "users.yaml": users,
  });
  const asAlice = (from: string) =>
    here.explain({ auth: "alice@example.org", from, to: ["alice@example.org"], json: true });
  const own = await asAlice("sales@example.org");
  deepEqual([own.code, own.data.session], [0, {
    ip: "192.0.2.1",
    role: "submission",
    helo: "[192.0.2.1]",
    tls: true,
    user: "alice@example.org",
  }]);
  const foreign = await asAlice("boss@example.org");
  equal(foreign.code, 4);
  match(foreign.data.steps.at(-1)!.turns[0]!.rule!, /nor in its sendAs/);
  const stranger = await here.explain({ auth: "eve@example.org", from: "eve@example.org", json: true });
  match(stranger.data.notes[0]!, /eve@example\.org is no account in .*users\.yaml/);
  equal((await here.explain({ role: "submission" })).code, 4, "without a login there is no submission");
});

Deno.test("explain: a message from a file is judged as if it had been received", async () => {
  const files = {
    "subject.js": plugin(
      "subject",
      `on("data", async (_s, message) => {
        const text = new TextDecoder().decode(await message.bytes());
        if (/[^\\r]\\n/.test(text)) return reject("5.6.0", "Bare newline");
        if (message.headers.get("Subject") === "spam") return reject("5.7.1", "Spam");
      });`,
    ),
    "spam.eml": "From: bob@elsewhere.example\nSubject: spam\n\n.\n..x\n",
    "ham.eml": "From: bob@elsewhere.example\r\nSubject: ham\r\n\r\nx\r\n",
  };
  await using here = await place(["  - ./subject.js", maildir], files);
  const spam = await here.explain({ message: here.at("spam.eml"), json: true });
  deepEqual([spam.code, spam.data.recipients[0]!.reply.text], [4, "5.7.1 Spam"]);
  equal(spam.data.copies.length, 0);
  equal((await here.explain({ message: here.at("ham.eml") })).code, 0);
  const missing = await here.explain({ message: here.at("none.eml") });
  equal(missing.code, 1);
  match(missing.err, /none\.eml/);
});

Deno.test("explain: what can't be explained is told, with exit 2", async () => {
  await using here = await place([maildir]);
  const wrong: [Partial<ExplainOptions>, RegExp][] = [
    [{ to: [] }, /needs a recipient/],
    [{ ip: "300.1.1.1" }, /not an IP address/],
    [{ helo: "a b" }, /not a name/],
    [{ from: "a@b.example>\r\nRCPT TO:<x@y.example" }, /control characters/],
    [{ role: "both" as "mx" }, /mx or submission/],
  ];
  for (const [options, said] of wrong) {
    const { code, err } = await here.explain(options);
    equal(code, 2);
    match(err, said);
  }
  await Deno.writeTextFile(here.at("postrider.yaml"), `${head}  - maildri\n`);
  const { code, err } = await here.explain();
  equal(code, 2);
  match(err, /postrider\.yaml:5:5: .*did you mean "maildir"/);
});

Deno.test("explain: the command line knows it", async () => {
  await using here = await place([maildir]);
  let out = "";
  const cli = { ...systemCli, stdout: { write: (text: string) => void (out += text) } };
  const config = here.at("postrider.yaml");
  const code = await main([
    "explain",
    "--config",
    config,
    "--from",
    "",
    "--to",
    "alice@example.org",
    "--to",
    "x@y.example",
  ], cli);
  equal(code, 4);
  match(out, /MAIL FROM:<> → 250/);
});
