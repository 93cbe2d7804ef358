import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import maildir from "../../../plugins/maildir/mod.ts";
import { readLayout } from "../../../plugins/maildir/layout.ts";
import { Mailboxes } from "../../../plugins/maildir/mailbox.ts";
import { deliverAll } from "../../../plugins/maildir/transport.ts";
import type { Defer, Outcome } from "../../../server/plugin.ts";
import { address, call, message, type Rig, setUp, target } from "../harness.ts";
import { files, folder, recorded, systemError } from "./disk.ts";

const here = { verdict: "accept", claim: { via: { transport: "maildir" } } };
const to = (...targets: string[]) => ({ verdict: "accept", claim: { to: targets } });
const unusable = { verdict: "reject", status: "5.1.1", text: "No mailbox can have this name" };

const resolve = async (rig: Rig, text: string) => await rig.handlers.resolve!(address(text), call());

async function deliver(
  rig: Rig,
  content: ReturnType<typeof message>,
  ...recipients: ReturnType<typeof target>[]
) {
  return await rig.transports.get("maildir")!.deliver(content, recipients, call()) as readonly Outcome[];
}

Deno.test("listed users are known, by address or local part, with any tag and in any case; others get no verdict", async () => {
  const rig = await setUp(maildir, {
    domains: ["Example.ORG", "straße.example"],
    users: ["alice@example.org", "Bob"],
  });
  deepEqual(rig.owned, ["example.org", "xn--strae-oqa.example"]);
  deepEqual([rig.transports.get("maildir")!.inline, rig.transports.get("maildir")!.batch], [true, 50]);
  for (
    const text of [
      "alice@example.org",
      "ALICE@EXAMPLE.ORG",
      "alice+tag@example.org",
      "bob@xn--strae-oqa.example",
      '"bob"@example.org',
    ]
  ) {
    deepEqual(await resolve(rig, text), here, text);
  }
  for (
    const text of [
      "alice@xn--strae-oqa.example",
      "carol@example.org",
      "alice@elsewhere.example",
      '"x@evil"@example.org',
    ]
  ) {
    equal(await resolve(rig, text), undefined, text);
  }
});

Deno.test("M02 names that no mailbox can have are refused, also where anybody is known", async () => {
  const rig = await setUp(maildir, { domains: ["example.org"], users: "any", catchAll: "rest" });
  for (
    const local of [
      '"../alice"',
      '"a/b"',
      '".."',
      ".hidden",
      '"a\\\0b"',
      '"a\tb"',
      "x".repeat(201),
      '""',
      "+tag",
    ]
  ) {
    deepEqual(await resolve(rig, `${local}@example.org`), unusable, local);
  }
  deepEqual(await resolve(rig, "any.body@example.org"), here);
  equal(await resolve(rig, '"../alice"@elsewhere.example'), undefined);
});

Deno.test("A01 postmaster and abuse exist in every domain, and the bare postmaster", async () => {
  const own = await setUp(maildir, { domains: ["example.org", "example.net"], users: ["alice@example.org"] });
  deepEqual(await resolve(own, "Postmaster@example.net"), here);
  deepEqual(await resolve(own, "abuse@example.org"), here);
  deepEqual(await resolve(own, "postmaster"), to("postmaster@example.org"));

  const options = {
    domains: ["example.org", "example.net"],
    users: ["abuse@example.net"],
    postmaster: "Postmaster@example.org",
  };
  const named = await setUp(maildir, options);
  deepEqual(await resolve(named, "postmaster"), to("Postmaster@example.org"));
  deepEqual(await resolve(named, "postmaster@example.org"), here, "its own target: the mailbox, no loop");
  deepEqual(await resolve(named, "postmaster@example.net"), to("Postmaster@example.org"));
  deepEqual(await resolve(named, "abuse@example.org"), to("Postmaster@example.org"));
  deepEqual(await resolve(named, "abuse@example.net"), here, "has a mailbox of its own");
});

Deno.test("unknown users go to the catch-all of their domain, which is always there", async () => {
  const rig = await setUp(maildir, {
    domains: ["example.org", "example.net"],
    users: ["alice@example.org"],
    catchAll: "Rest",
  });
  deepEqual(await resolve(rig, "carol@example.net"), to("rest@example.net"));
  deepEqual(await resolve(rig, "rest@example.net"), here);
  deepEqual(await resolve(rig, "alice@example.org"), here);
});

Deno.test("without `users`, whose mailbox exists is known", async () => {
  await using root = await folder();
  await Deno.mkdir(`${root.path}/example.org/alice`, { recursive: true });
  await Deno.writeTextFile(`${root.path}/example.org/file`, "");
  const rig = await setUp(maildir, { domains: ["example.org"], path: `${root.path}/{domain}/{user}` });
  deepEqual(await resolve(rig, "alice+tag@example.org"), here);
  equal(await resolve(rig, "file@example.org"), undefined);
  equal(await resolve(rig, "bob@example.org"), undefined);
});

Deno.test("a users file may be auth's, or a list, and is read again when it has changed", async () => {
  await using root = await folder();
  const file = `${root.path}/users.yaml`;
  const rig = await setUp(maildir, { domains: ["example.org"], users: "users.yaml" }, root.path);
  match(rig.log[0]!.text, /missing/);
  equal(await resolve(rig, "alice@example.org"), undefined);

  const contents = [
    'alice@example.org: { password: "$scrypt$…", sendAs: [sales@example.org] }\nbob@elsewhere.example: { password: x }\n',
    "- alice@example.org\n- carol\n",
    "alice@example.org # one a line\ncarol@example.org\n",
  ];
  for (const content of contents) {
    await Deno.writeTextFile(file, content);
    rig.time += 1000;
    deepEqual(await resolve(rig, "alice@example.org"), here, content);
    equal(await resolve(rig, "bob@example.org"), undefined, content);
    equal(await resolve(rig, "sales@example.org"), undefined, content);
  }
  deepEqual(await resolve(rig, "carol@example.org"), here);
});

Deno.test("options that can't work are refused with a sentence", async () => {
  const table: [object, RegExp][] = [
    [{ domains: [] }, /expected array to have >=1 items/],
    [{ domains: ["a b"] }, /not a domain such as/],
    [{ domains: ["example.org"], users: ["alice@example.net"] }, /in none of `domains`/],
    [{ domains: ["example.org"], users: ["../alice"] }, /can't be the name of a mailbox/],
    [{ domains: ["example.org"], users: ["alice+x@example.org"] }, /sub-address/],
    [{ domains: ["example.org"], path: "/var/mail/{domain}" }, /\{user\} must stand/],
    [{ domains: ["example.org"], catchAll: "a@b" }, /not a local part/],
    [{ domains: ["example.org"], postmaster: "me" }, /not an address/],
  ];
  for (const [options, sentence] of table) await rejects(setUp(maildir, options), sentence);
});

Deno.test("a message is stored with two lines on top, an earlier Return-Path replaced, LF or CRLF", async () => {
  const content =
    "Received: by us\r\nReturn-Path: <forged@example.net>\r\nSubject: ü\r\n\r\nbody\r\n.\r\nend";
  for (const lineEndings of ["lf", "crlf"]) {
    await using root = await folder();
    const rig = await setUp(maildir, {
      domains: ["example.org"],
      users: "any",
      path: `${root.path}/{domain}/{user}`,
      lineEndings,
    });
    deepEqual(await deliver(rig, message(content), target("Alice+tag@example.org", "")), [
      { verdict: "delivered", text: "delivered to mailbox" },
    ]);
    const [name] = await files(root.path);
    const stored = await Deno.readFile(`${root.path}/${name}`);
    const crlf = "Return-Path: <>\r\nDelivered-To: Alice+tag@example.org\r\n" +
      content.replace("Return-Path: <forged@example.net>\r\n", "");
    const expected = lineEndings === "lf" ? crlf.replaceAll("\r\n", "\n") : crlf;
    equal(new TextDecoder("latin1").decode(stored), expected);
    match(
      name!,
      new RegExp(
        `^example\\.org/alice/new/1700000000\\.M0P\\d+Q\\d+R[0-9a-f]{8}\\.[^/]+,S=${expected.length},W=${crlf.length}$`,
      ),
    );
  }
});

Deno.test("a large message streams to every recipient", async () => {
  await using root = await folder();
  const rig = await setUp(maildir, {
    domains: ["example.org"],
    users: "any",
    path: `${root.path}/{domain}/{user}`,
  });
  const content = `Return-Path: <x@y>\r\nSubject: x\r\n\r\n${"0123456789\r\n".repeat(150_000)}`;
  const outcomes = await deliver(
    rig,
    message(content),
    target("alice@example.org"),
    target("bob@example.org"),
  );
  deepEqual(outcomes.map(({ verdict }) => verdict), ["delivered", "delivered"]);
  for (const name of await files(root.path)) {
    const user = name.split("/")[1];
    equal(
      await Deno.readTextFile(`${root.path}/${name}`),
      `Return-Path: <sender@example.net>\nDelivered-To: ${user}@example.org\nSubject: x\n\n${
        "0123456789\n".repeat(150_000)
      }`,
    );
  }
});

Deno.test("D07 a recipient that the message was delivered to before fails, others do not", async () => {
  await using root = await folder();
  const rig = await setUp(maildir, {
    domains: ["example.org"],
    users: "any",
    path: `${root.path}/{domain}/{user}`,
  });
  const looping = message(
    "Delivered-To: <ALICE@example.org>\r\nDelivered-To: carol@example.org\r\n\r\nDelivered-To: bob@example.org\r\n",
  );
  const outcomes = await deliver(
    rig,
    looping,
    target("alice@example.org"),
    target("bob@example.org"),
    target("alice+x@example.org"),
  );
  deepEqual(outcomes.map(({ verdict }) => verdict), ["reject", "delivered", "delivered"]);
  equal((outcomes[0] as { status: string }).status, "5.4.6");
});

Deno.test("M02 a recipient that another plugin sent here gets no path of its own making", async () => {
  await using root = await folder();
  const rig = await setUp(maildir, {
    domains: ["example.org"],
    users: "any",
    path: `${root.path}/a/{domain}/{user}`,
  });
  const [outcome] = await deliver(rig, message("\r\n"), target('"../../x"@example.org'));
  deepEqual(outcome, unusable);
  deepEqual(await files(root.path), []);
});

Deno.test("M01 1,000 parallel deliveries in one frozen second are 1,000 files", async () => {
  await using root = await folder();
  const rig = await setUp(maildir, {
    domains: ["example.org"],
    users: "any",
    path: `${root.path}/{domain}/{user}`,
  });
  const outcomes = await Promise.all(
    Array.from(
      { length: 1000 },
      (_, i) => deliver(rig, message(`Subject: ${i}\r\n\r\n`), target("alice@example.org")),
    ),
  );
  equal(outcomes.flat().filter(({ verdict }) => verdict === "delivered").length, 1000);
  const names = await files(root.path);
  equal(names.length, 1000);
  const subjects = await Promise.all(
    names.map(async (name) => /Subject: (\d+)/.exec(await Deno.readTextFile(`${root.path}/${name}`))![1]),
  );
  equal(new Set(subjects).size, 1000);
});

Deno.test("M03 a full disk defers for that mailbox only, and the log says which and why", async () => {
  const table = [["ENOSPC", "4.3.1", 452], ["EDQUOT", "4.2.2", 452], ["EIO", "4.3.0", undefined], [
    "EMFILE",
    "4.3.0",
    undefined,
  ]] as const;
  for (const [code, status, reply] of table) {
    await using root = await folder();
    const disk = recorded((operation) => {
      if (operation.startsWith("write") && operation.includes("/alice/")) throw systemError(code);
    });
    const log: string[] = [];
    const write = (text: string, fields: object = {}) => void log.push(`${text} ${JSON.stringify(fields)}`);
    let number = 0;
    const transport = deliverAll(
      { disk, mailboxes: new Mailboxes(root.path, disk), uniqueName: () => `${++number}` },
      readLayout(`${root.path}/{user}`) as Exclude<ReturnType<typeof readLayout>, string>,
      "lf",
      { debug: () => {}, info: write, warning: write, error: write },
    );
    const recipients = [target("alice@example.org"), target("bob@example.org")];
    const outcomes = await transport(message("Subject: secret\r\n\r\n"), recipients, call()) as Outcome[];
    const { verdict, status: said, code: replied } = outcomes[0] as Defer;
    deepEqual([verdict, said, replied], ["defer", status, reply]);
    equal(JSON.stringify(outcomes).includes(root.path), false, "no path is told to the client");
    equal(outcomes[1]!.verdict, "delivered");
    equal(log.length, 1);
    match(log[0]!, new RegExp(`${root.path}/alice.*${code}`));
    equal(log[0]!.includes("secret"), false);
  }
});

Deno.test("a delivery whose time is over is put off, without a word in the log", async () => {
  await using root = await folder();
  const rig = await setUp(maildir, {
    domains: ["example.org"],
    users: "any",
    path: `${root.path}/{domain}/{user}`,
  });
  const [outcome] = await rig.transports.get("maildir")!.deliver(
    message("\r\n"),
    [target("alice@example.org")],
    call(AbortSignal.abort()),
  ) as Outcome[];
  equal(outcome!.verdict, "defer");
  deepEqual(await files(root.path), []);
  deepEqual(rig.log, []);
});
