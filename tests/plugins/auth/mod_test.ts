import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import auth from "../../../plugins/auth/mod.ts";
import { parsingIn } from "../../../server/options.ts";
import type { Credentials, Editable, Hooks, Host, Session, Verdict } from "../../../server/plugin.ts";
import { address, call, message, recipient, transaction } from "../harness.ts";
import { cheapHash, client, fakeHost, inDirectory } from "./rig.ts";

/** The plugin, set up over a users file with alice in it. */
async function withPlugin(
  options: Record<string, unknown>,
  test: (rig: Awaited<ReturnType<typeof setUp>>) => Promise<void>,
): Promise<void> {
  await inDirectory(async (directory) => {
    const text = `alice@example.org: { password: "${cheapHash("right")}", sendAs: [sales@example.org] }\n`;
    await Deno.writeTextFile(`${directory}/users.yaml`, text, { mode: 0o600 });
    const rig = await setUp(directory, options);
    try {
      await test(rig);
    } finally {
      rig.dispose();
    }
  });
}

async function setUp(directory: string, options: Record<string, unknown>) {
  const fake = fakeHost();
  const handlers: Partial<Hooks> = {};
  const notes = <S extends object, T extends object>(make: (of: S) => T) => {
    const kept = new WeakMap<S, T>();
    return (of: S): T => {
      const found = kept.get(of) ?? make(of);
      kept.set(of, found);
      return found;
    };
  };
  const host: Pick<Host, "name" | "clock" | "log" | "cache" | "notes"> = { name: "auth", ...fake, notes };
  const parsed = parsingIn(directory, () => auth.options!.parse(options)).value;
  const dispose = await auth.setup((hook, handler) => void (handlers[hook] = handler), parsed, host as Host);
  const { auth: login, mail, rcpt, data } = handlers;
  return {
    ...fake,
    file: `${directory}/users.yaml`,
    dispose: dispose as () => void,
    login: (session: Session, password: string, user = "alice@example.org") =>
      login!(session, { mechanism: "PLAIN", user, password: { reveal: () => password } }, call()),
    other: (credentials: Credentials) => login!(client(), credentials, call()),
    mail: (session: Session, sender: string) =>
      mail!(session, { ...transaction, sender: address(sender) }, call()) as Verdict | void,
    rcpt: (session: Session) => rcpt?.(session, recipient("x@elsewhere.example"), transaction, call()),
    data: (session: Session, header: string) =>
      data!(session, message(`${header}\r\n\r\nbody\r\n`) as Editable, { ...transaction } as never, call()) as
        | Verdict
        | void,
  };
}

const brief = (verdict: Verdict | void) => {
  if (!verdict || verdict.verdict === "accept") return verdict ? "accept" : undefined;
  return `${verdict.verdict} ${verdict.status}${"code" in verdict ? ` ${verdict.code}` : ""}`;
};

Deno.test("AUTH: the account and its other addresses are claimed; XOAUTH2 is somebody else's", () =>
  withPlugin({}, async ({ login, other }) => {
    deepEqual(await login(client(), "right", "Alice@example.org"), {
      verdict: "accept",
      claim: { user: "alice@example.org", sendAs: ["sales@example.org"] },
    });
    equal(
      await other({ mechanism: "XOAUTH2", user: "alice@example.org", token: { reveal: () => "right" } }),
      undefined,
    );
  }));

Deno.test("U03 wrong password and unknown account get the same verdict", () =>
  withPlugin({}, async ({ login }) => {
    const wrong = await login(client(), "wrong");
    equal(brief(wrong as Verdict), "reject 5.7.8"); // 535 by default
    deepEqual(await login(client(), "wrong", "nobody@example.org"), wrong);
    deepEqual(await login(client(), "wrong", "no address"), wrong);
  }));

Deno.test("U04 the third failure on one connection closes it; a success in between counts anew", () =>
  withPlugin({}, async ({ login }) => {
    const session = client();
    const said = [];
    for (const word of ["wrong", "wrong", "right", "wrong", "wrong"]) {
      said.push(await login(session, word) as Verdict);
    }
    said.push(await login(session, "wrong", "bob@example.org") as Verdict);
    deepEqual(said.map(brief), [
      "reject 5.7.8",
      "reject 5.7.8",
      "accept",
      "reject 5.7.8",
      "reject 5.7.8",
      "disconnect 4.7.0",
    ]);
  }));

Deno.test("U04 during the back-off: a temporary refusal that counts on its connection, on new ones too", () =>
  withPlugin({}, async ({ login, clock }) => {
    for (let i = 0; i < 3; i++) await login(client(), "wrong");
    const session = client();
    equal(brief(await login(session, "right") as Verdict), "defer 4.7.0");
    equal(brief(await login(session, "right") as Verdict), "defer 4.7.0");
    equal(brief(await login(session, "right") as Verdict), "disconnect 4.7.0");
    equal(brief(await login(client({ network: "203.0.113.0/24" }), "right") as Verdict), "accept");
    await clock.advance(5000);
    equal(brief(await login(client(), "right") as Verdict), "accept");
  }));

Deno.test("X04 a refused login is one line, without the password, nor what may be one", () =>
  withPlugin({}, async ({ login, lines }) => {
    await login(client(), "hunter2");
    await login(client(), "hunter2", "hunter3");
    deepEqual(lines.map(({ text, fields }) => [text, fields["user"], fields["address"]]), [
      ["login refused", "alice@example.org", "192.0.2.1"],
      ["login refused", "(no address)", "192.0.2.1"],
    ]);
    ok(!JSON.stringify(lines).includes("hunter"));
  }));

const alice = client({ user: "alice@example.org", sendAs: ["sales@example.org"] });

Deno.test("U06 MAIL: the account's senders only; the null sender is anybody's; who has not logged in is not asked", () =>
  withPlugin({}, ({ mail }) => {
    const senders = ["alice@example.org", "Alice+x@Example.org", "sales@example.org", ""];
    for (const sender of senders) equal(mail(alice, sender), undefined, sender);
    equal(brief(mail(alice, "bob@example.org")), "reject 5.7.1 553");
    equal(mail(client(), "bob@example.org"), undefined);
    return Promise.resolve();
  }));

const headers: [header: string, verdict: string | undefined][] = [
  ["From: Alice <alice@example.org>", undefined],
  ["Subject: no author", undefined],
  ["From: alice@example.org, Sales <sales@example.org>", undefined],
  ["from:\r\n\talice+tag@example.org", undefined],
  ["From: Boss <boss@bank.example>", "reject 5.7.1"],
  ["From: alice@example.org, boss@bank.example", "reject 5.7.1"],
  ["From: alice@example.org\r\nFROM: boss@bank.example", "reject 5.7.1"],
  ["From: Team: boss@bank.example;", "reject 5.7.1"],
  ["From: <alice@example.org> <boss@bank.example>", "reject 5.7.1"],
  ["From: Nobody", "reject 5.7.1"],
  ["From:", "reject 5.7.1"],
  ['From: "never ends', "reject 5.7.1"],
];

Deno.test("U06 data: a foreign From: header is refused after the dot, unless checkFrom is off", async () => {
  await withPlugin({}, ({ data }) => {
    for (const [header, verdict] of headers) {
      equal(brief(data(alice, header)), verdict, header);
      equal(data(client(), header), undefined, header);
    }
    return Promise.resolve();
  });
  await withPlugin({ checkFrom: false }, ({ data }) => {
    for (const [header] of headers) equal(data(alice, header), undefined, header);
    return Promise.resolve();
  });
});

Deno.test("U06 no verdict's text can break a reply", () =>
  withPlugin({}, ({ data }) => {
    const verdict = data(alice, `From: boss\x07\xff${"x".repeat(3000)}@bank.example`);
    ok(verdict && "text" in verdict);
    ok(/^[ -~]{1,400}$/.test(verdict.text), verdict.text);
    return Promise.resolve();
  }));

Deno.test("rcpt: its users may send anywhere, as long as they are in the file; others are not its to judge", () =>
  withPlugin({}, async ({ rcpt, file, clock }) => {
    equal(brief(await rcpt(alice) as Verdict), "accept");
    equal(await rcpt(client()), undefined);
    equal(await rcpt(client({ user: "oauth@example.org" })), undefined);
    await Deno.writeTextFile(file, "{}\n");
    await clock.advance(1000);
    equal(await rcpt(alice), undefined);
  }));

Deno.test("rcpt: relay: false leaves it to others", () =>
  withPlugin({ relay: false }, async ({ rcpt }) => equal(await rcpt(alice), undefined)));

Deno.test("setup: the users file is users.yaml beside the configuration; a broken one is an error", () =>
  inDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/users.yaml`, "a: b\n");
    await rejects(setUp(directory, {}), new RegExp(`${directory}/users.yaml:1:1: `));
    const { lines, dispose } = await setUp(directory, { users: "other.yaml" });
    equal(lines[0]?.level, "warning");
    dispose();
  }));
