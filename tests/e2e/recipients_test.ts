/** Who exists, as real servers know it: slapd by LDAP, Postfix by RCPT. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { makeAuthority, makeCertificate } from "./certificate.ts";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { listMaildir, untilMessages } from "./mailbox.ts";
import { drawPorts, startPostfix } from "./postfix.ts";
import { ServerProcess } from "./server.ts";
import { drawLdapPorts, prepareSlapd, reader, startSlapd } from "./slapd.ts";
import { deliver, mailboxOf, maildir, writeSettings } from "./small_server.ts";

/** What each RCPT is told, on a connection of its own. */
async function told(port: number, recipients: readonly string[]): Promise<string[]> {
  using client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  await client.say("MAIL FROM:<bob@elsewhere.test>");
  const replies: string[] = [];
  for (const recipient of recipients) {
    await client.send(`RCPT TO:<${recipient}>\r\n`);
    const { code, lines } = await client.reply();
    replies.push(`${code} ${lines[0]!.split(" ")[0]}`);
  }
  return replies;
}

Deno.test("recipients: slapd knows who exists", async (test) => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const authority = await makeAuthority(folder);
  const ports = drawLdapPorts();
  const people = ["alice@example.test", '"bob(x)"@example.test', "*@example.test.invalid"];
  const conf = await prepareSlapd(folder, await authority.certify("127.0.0.1"), people);
  await folder.write("ldap.password", `${reader.password}\n`);
  const ldaps = {
    url: `ldaps://127.0.0.1:${ports.ldaps}`,
    ca: authority.cert,
    bind: { dn: reader.dn, passwordFile: "ldap.password" },
    base: "dc=example,dc=test",
    filter: "(&(objectClass=inetOrgPerson)(mail={address}))",
  };
  const cleartext = { ...ldaps, url: `ldap://127.0.0.1:${ports.ldap}` };
  const start = async (ldap: Record<string, unknown>) => {
    const plugin = {
      use: "recipients",
      with: { domains: ["example.test"], ldap, cache: { yes: "1ms", no: "1ms" } },
    };
    const config = await writeSettings(folder, {
      plugins: [plugin, maildir],
      state: `./state-${crypto.randomUUID()}`,
    });
    return await ServerProcess.start(config);
  };
  const asked = ["Alice+tag@example.test", "nobody@example.test", "*@example.test", '"bob(x)"@example.test'];
  const known = ["250 2.1.5", "550 5.1.1", "550 5.1.1", "250 2.1.5"];
  const unsure = asked.map(() => "451 4.3.0");

  await test.step("by TLS and a password; what stands in an address is never a part of the filter", async () => {
    await using server = await start(ldaps);
    {
      await using _slapd = await startSlapd(conf, ports);
      deepEqual(await told(server.port(), asked), known);
      await deliver(server.port(), "alice");
      equal((await untilMessages(mailboxOf(folder, "alice"), 1)).length, 1);
    }
    // It is down: who was known is known, about others nothing is said.
    deepEqual(await told(server.port(), asked), ["250 2.1.5", "451 4.3.0", "451 4.3.0", "250 2.1.5"]);
    const down = await server.logged("plugin failed", (line) => line["plugin"] === "recipients");
    match(`${down["error"]}`, /ldap: ldaps:\/\/127\.0\.0\.1:\d+: /);
    {
      await using _slapd = await startSlapd(conf, ports);
      for (;;) { // nobody asks for a second after a failure
        const now = await told(server.port(), asked);
        if (!now.some((reply) => reply.startsWith("451"))) {
          deepEqual(now, known);
          break;
        }
      }
    }
    equal(await server.stop(), 0);
    ok(!server.stderr.includes(reader.password), "no password is in the log");
  });

  await test.step("by StartTLS, and in the clear on this machine", async () => {
    await using _slapd = await startSlapd(conf, ports);
    for (const how of [{ ...cleartext, startTls: true }, (({ ca: _, ...rest }) => rest)(cleartext)]) {
      await using server = await start(how);
      deepEqual(await told(server.port(), asked), known);
      equal(await server.stop(), 0);
    }
  });

  await test.step("a stranger's certificate, a wrong password, a wrong base: nothing is said of anybody", async () => {
    await using _slapd = await startSlapd(conf, ports);
    const stranger = await makeCertificate(folder, "127.0.0.1");
    const wrong = { dn: reader.dn, password: "wr0ng-password" };
    const { bind: _, ...asNobody } = ldaps;
    for (
      const how of [
        { ...ldaps, ca: stranger.cert },
        { ...cleartext, ca: stranger.cert, startTls: true },
        { ...ldaps, bind: wrong },
        { ...ldaps, base: "dc=elsewhere,dc=test" },
        asNobody,
      ]
    ) {
      await using server = await start(how);
      deepEqual(await told(server.port(), asked), unsure, JSON.stringify(how));
      equal(await server.stop(), 0);
      ok(!server.stderr.includes("wr0ng"));
    }
  });
});

Deno.test("recipients: Postfix is asked at RCPT, and gets no message but those that are meant for it", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const certificate = await makeCertificate(folder, "mx.example.test");
  const certificates = { right: certificate, impostor: certificate, stranger: certificate };
  const ports = drawPorts();
  const inside = { host: "127.0.0.1", port: ports.clear };
  const domains = ["in.remote.test", "unknown.remote.test", "blocked.remote.test"];
  const plugin = { use: "recipients", with: { domains, nextHop: { ...inside, tls: "none" }, via: "smtp" } };
  const config = await writeSettings(folder, { plugins: [plugin], outbound: { route: { "*": inside } } });
  const server = undo.use(await ServerProcess.start(config));
  const rule = "{blocked@blocked.remote.test = 554 5.7.1 Your address is on our list}";
  const settings = `smtpd_recipient_restrictions = check_recipient_access inline:{ ${rule} }`;
  const postfix = undo.use(
    await startPostfix({ folder, ports, certificates, boxes: ["in"], ours: server.port(), settings }),
  );
  const asked = ["alice@in.remote.test", "alice@unknown.remote.test", "blocked@blocked.remote.test"];
  const expected = ["250 2.1.5", "550 5.1.1", "451 4.3.0"];
  deepEqual(await told(server.port(), asked), expected);
  deepEqual(await listMaildir(postfix.maildir("in")), []);
  ok(!/qmgr.*from=/.test(await postfix.log()), "nothing came into its queue");

  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.envelope("bob@elsewhere.test", "alice@in.remote.test");
  await client.say("Subject: hello\r\n\r\nHello.\r\n.");
  const [copy] = await untilMessages(postfix.maildir("in"), 1);
  match(copy!.toString("latin1"), /^Subject: hello$/m);
  equal(await server.stop(), 0);
});
