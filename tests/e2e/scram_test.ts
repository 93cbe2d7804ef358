/** SCRAM-SHA-256 from real clients: GNU SASL's own, and msmtp; with channel binding from one of ours, over a real TLS connection. */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { connect, type TLSSocket } from "node:tls";
import { makeCertificate } from "./certificate.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
import { accounts } from "./mailhost.ts";
import { type Ended, run } from "./programs.ts";
import { postrider, ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";
import { scramClient } from "../scram_client.ts";

const address = "127.0.0.1";
const alice = "alice@example.test";
/** SASLprep has something to do with it. */
const password = "pass\u00adwört \ufb03";

interface Host extends AsyncDisposable {
  readonly folder: Folder;
  readonly server: ServerProcess;
  readonly cert: string;
}

/** alice has keys, written by `user add`; carol has a password only. */
async function open(scram: true | "plus"): Promise<Host> {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const { cert } = await makeCertificate(folder, "mx.example.test");
  await folder.write("users.yaml", await accounts("carol"));
  const config = await writeSettings(folder, {
    listen: [
      { port: 0, address, role: "submission" },
      { port: 0, address, role: "submission", tls: "implicit" },
    ],
    tls: { cert: "cert.pem", key: "key.pem" },
    plugins: [{ use: "auth", with: { users: "users.yaml", scram } }, maildir],
  });
  const added = await postrider(["user", "add", alice, "--config", config, "--password-stdin"], {
    stdin: new TextEncoder().encode(`${password}\n`),
  });
  equal(added.code, 0, added.stderr);
  match(await Deno.readTextFile(folder.at("users.yaml")), /scram: "SCRAM-SHA-256\$100000:/);
  const server = undo.use(await ServerProcess.start(config, { listeners: 2 }));
  const moved = undo.move();
  return { folder, server, cert, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

function gsasl({ server, cert }: Host, user: string, word: string): Promise<Ended> {
  return run("gsasl", [
    ...["--smtp", "--client", "--mechanism=SCRAM-SHA-256", "--no-cb", `--x509-ca-file=${cert}`],
    ...[`--authentication-id=${user}`, `--password=${word}`, "--hostname=mx.example.test"],
    ...["--connect", `${address}:${server.port(0)}`],
  ], { env: { LC_ALL: "C.UTF-8" }, stdin: new Uint8Array() });
}

Deno.test("SCRAM from gsasl and msmtp", async (t) => {
  await using host = await open(true);
  equal(
    (await host.server.logged(
      "accounts without keys for SCRAM can't log in by it: `user passwd` writes them",
    ))["accounts"],
    1,
  );
  await t.step("gsasl logs in", async () => {
    const { stdout, stderr } = await gsasl(host, alice, password);
    match(stdout + stderr, /235 2\.7\.0/);
    equal((await host.server.logged("logged in"))["mechanism"], "SCRAM-SHA-256");
  });
  await t.step("gsasl with a wrong password, and with names that have no keys: 535", async () => {
    for (
      const [user, word] of [[alice, "wrong"], ["carol@example.test", "postrider"], [
        "nobody@example.test",
        "x",
      ]]
    ) {
      const { stdout, stderr } = await gsasl(host, user!, word!);
      match(stdout + stderr, /^535 5\.7\.8 User name or password is wrong/m, user);
    }
  });
  await t.step("msmtp sends", async () => {
    const word = await host.folder.write("password", password);
    const { code, stderr } = await run("msmtp", [
      ...[`--host=${address}`, `--port=${host.server.port(1)}`, "--domain=client.test", `--from=${alice}`],
      ...[
        "--tls=on",
        "--tls-starttls=off",
        `--tls-trust-file=${host.cert}`,
        "--tls-host-override=mx.example.test",
      ],
      ...["--auth=scram-sha-256", `--user=${alice}`, `--passwordeval=cat ${word}`, "bob@example.test"],
    ], {
      stdin: new TextEncoder().encode(`From: ${alice}\nSubject: by SCRAM\n\nHello\n`),
      env: { LC_ALL: "C.UTF-8" },
    });
    equal(code, 0, stderr);
    match((await onlyMessage(mailboxOf(host.folder, "bob"))).received, /with ESMTPSA /);
  });
  equal(host.server.stderr.includes("wört"), false);
});

/** Says lines, and gives the last line of each reply. */
function talk(socket: TLSSocket): (line?: string) => Promise<string> {
  let heard = "";
  let wake = () => {};
  socket.on("data", (chunk) => {
    heard += chunk;
    wake();
  });
  return async (line) => {
    if (line !== undefined) socket.write(`${line}\r\n`);
    for (;;) {
      const found = /^(?:[0-9]{3}-[^\n]*\n)*([0-9]{3} [^\r]*)\r\n/.exec(heard);
      if (found) {
        heard = heard.slice(found[0].length);
        return found[0].replaceAll("\r\n", "|");
      }
      await new Promise<void>((resolve) => wake = resolve);
    }
  };
}

Deno.test("SCRAM-PLUS: bound to the certificate that the client has seen, and to no other", async () => {
  await using host = await open("plus");
  const printed = await run("openssl", ["x509", "-in", host.cert, "-noout", "-fingerprint", "-sha256"]);
  const endPoint = Uint8Array.fromHex(/=([0-9A-F:]+)/.exec(printed.stdout)![1]!.replaceAll(":", ""));
  const login = async (header: string, bound: Uint8Array, mechanism: string) => {
    const ca = await Deno.readTextFile(host.cert);
    const socket = connect({
      host: address,
      port: host.server.port(1),
      servername: "mx.example.test",
      ca: [ca],
    });
    try {
      const say = talk(socket);
      await say();
      match(await say("EHLO c"), /AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN/);
      const { first, last, isServer } = scramClient({
        user: alice,
        password: "passw\u00f6rt ffi", // as SASLprep has it
        header,
        endPoint: bound,
      });
      const challenge = await say(`AUTH ${mechanism} ${btoa(first)}`);
      if (!challenge.startsWith("334 ")) return challenge.slice(0, 3);
      const proved = await say(btoa(last(atob(challenge.slice(4, -1)))));
      if (!proved.startsWith("334 ")) return proved.slice(0, 3);
      ok(isServer(atob(proved.slice(4, -1))));
      return (await say("")).slice(0, 3);
    } finally {
      socket.destroy();
    }
  };
  const none = new Uint8Array();
  equal(await login("p=tls-server-end-point,,", endPoint, "SCRAM-SHA-256-PLUS"), "235");
  equal(await login("n,,", none, "SCRAM-SHA-256"), "235");
  // Somebody in between shows a certificate of his own, or takes -PLUS out of the offer.
  equal(await login("p=tls-server-end-point,,", endPoint.toReversed(), "SCRAM-SHA-256-PLUS"), "535");
  equal(await login("y,,", none, "SCRAM-SHA-256"), "535");
});
