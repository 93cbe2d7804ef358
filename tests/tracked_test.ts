/** What `track` knows of mail that went through a whole server: sockets, plugins, queue, reports. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { trackCommand } from "../server/cli/track.ts";
import { systemCli } from "../server/cli/io.ts";
import { systemClock } from "../server/clock.ts";
import { Server } from "../server/server.ts";

interface Shown {
  readonly id: string;
  readonly sender: string;
  readonly messageId: string | null;
  readonly from: Record<string, string> | null;
  readonly reportOn: { readonly id: string; readonly kind: string } | null;
  readonly recipients: readonly Record<string, string>[];
  readonly said: readonly string[];
  readonly facts: readonly unknown[];
  readonly keptBy: Record<string, string> | null;
  readonly steps: readonly Record<string, unknown>[];
}

/** Asks until it is as wanted: what goes on after the reply has no event that a client could wait for. */
async function track(
  config: string,
  text: string,
  isWanted: (found: readonly Shown[]) => boolean,
): Promise<readonly Shown[]> {
  for (let ask = 0;; ask++) {
    let [out, err] = ["", ""];
    await trackCommand({ config, text, json: true }, {
      ...systemCli,
      clock: systemClock,
      columns: () => undefined,
      writeBytes() {},
      stdout: { write: (more) => void (out += more) },
      stderr: { write: (more) => void (err += more) },
    });
    ok(out !== "", err);
    const found = JSON.parse(out) as Shown[];
    if (isWanted(found)) return found;
    if (ask > 500) throw new Error(`never as wanted: ${out}`);
  }
}

async function send(port: number, lines: readonly string[]): Promise<string> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const [encoder, decoder] = [new TextEncoder(), new TextDecoder()];
  const buffer = new Uint8Array(4096);
  let said = "";
  const reply = async () => {
    let text = "";
    while (!/^\d{3} .*\r\n$/m.test(text)) {
      const count = await conn.read(buffer);
      if (count === null) break;
      text += decoder.decode(buffer.subarray(0, count));
    }
    said = text;
  };
  await reply();
  for (const line of lines) {
    await conn.write(encoder.encode(`${line}\r\n`));
    await reply();
  }
  return said;
}

const mail = (from: string, to: readonly string[], content: string) => [
  "EHLO client.example",
  `MAIL FROM:<${from}>`,
  ...to.map((one) => `RCPT TO:<${one}>`),
  "DATA",
  `${content}\r\n.`,
];

Deno.test("tracked: from the session to the report, with what plugins said and found; inline deliveries, too", async () => {
  const folder = await Deno.makeTempDir({ prefix: "postrider-tracked-" });
  const config = `${folder}/postrider.yaml`;
  await Deno.writeTextFile(
    `${folder}/judge.ts`,
    `export default ({ definePlugin, defer, reject, fact, z }) => definePlugin({
      name: "judge",
      setup(on, _options, host) {
        const tell = host.provides(fact("mood"));
        on("mail", (_session, transaction) => tell(transaction, { good: true }));
        on("rcpt", (_session, { user }) => user === "later" ? defer("4.7.1", "Not now") : undefined);
        const via = host.transport("nowhere", () => Promise.resolve(reject("5.1.1", "No such user")));
        on("resolve", ({ domain }) => domain === "far.example" ? { verdict: "accept", claim: { via } } : undefined);
      },
    });`,
  );
  await Deno.writeTextFile(
    config,
    `hostname: mx.example.org
state: ./state
listen: [{ port: 0, address: 127.0.0.1 }]
log: { level: error }
plugins: [{ use: ./judge.ts }, { use: maildir, with: { domains: [example.org], users: any, path: "./mail/{user}" } }]
`,
  );
  const server = await Server.start(config);
  try {
    const { port } = server.open[0]!;
    match(
      await send(
        port,
        mail("x@y.example", ["later@example.org", "bob@example.org"], "Message-ID: <In.1@y>\r\n\r\nhi"),
      ),
      /^250 /,
    );
    const [inline] = await track(config, "<in.1@Y>", (found) => found.length === 1);
    deepEqual([inline!.sender, inline!.messageId, inline!.from], [
      "x@y.example",
      "<In.1@y>",
      { ip: "127.0.0.1", helo: "client.example", protocol: "smtp" },
    ]);
    deepEqual(inline!.recipients, [
      { address: "bob@example.org", original: "bob@example.org", via: "maildir", state: "delivered" },
    ]);
    deepEqual(inline!.said, ["rcpt judge defer 4.7.1 Not now", "resolve maildir accept"]);
    deepEqual(inline!.facts, [{ name: "mood", value: { good: true } }]);
    deepEqual(inline!.keptBy, { kind: "transport", via: "maildir", reply: "delivered to mailbox" });

    match(
      await send(port, mail("alice@example.org", ["nobody@far.example"], "Message-ID: <Out.1@y>\r\n\r\nhi")),
      /^250 /,
    );
    const isBounced = (found: readonly Shown[]) => found[0]?.recipients[0]?.["state"] === "failed";
    const [bounced] = await track(config, "out.1@y", isBounced);
    deepEqual(
      bounced!.steps.map(({ what, outcome, reply, kind }) => ({ what, outcome, reply, kind })).sort((a, b) =>
        String(a.what) < String(b.what) ? -1 : 1
      ),
      [
        { what: "attempt", outcome: "failed", reply: "5.1.1 No such user", kind: undefined },
        { what: "report", outcome: undefined, reply: undefined, kind: "failure" },
      ],
    );
    const report = String(bounced!.steps.find(({ what }) => what === "report")!["report"]);
    const [told] = await track(config, report, (found) => found[0]?.recipients[0]?.["state"] === "delivered");
    deepEqual([told!.sender, told!.reportOn], ["", { id: bounced!.id, kind: "failure" }]);
    equal(told!.recipients[0]?.["address"], "alice@example.org");
    await server.stop();
    // Stopped, the same is read from the disk.
    deepEqual(await track(config, "<in.1@y>", () => true), [inline]);
  } finally {
    await server.stop();
    await Deno.remove(folder, { recursive: true });
  }
});
