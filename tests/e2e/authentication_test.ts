/** Signatures and chains between this server, OpenDKIM and Python's dkimpy, in both directions; and all of it in a server that runs. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { join } from "node:path";
import { accept, definePlugin } from "../../server/plugin.ts";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import { type KeyFile, keyFile, letter, results, server, signed } from "../plugins/authentication/rig.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { untilMessages } from "./mailbox.ts";
import { startNsd } from "./nsd.ts";
import { run } from "./programs.ts";
import { RawClient } from "./client.ts";
import { postrider, root, ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const kinds = ["rsa", "ed25519"] as const;
const forms = ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"] as const;

/** Letters that ask something of canonicalization. */
const letters: Record<string, string> = {
  "a plain letter": letter,
  "an empty body": letter.slice(0, letter.indexOf("\r\n\r\n") + 4),
  "white space everywhere": letter.replace("A letter", "A \t letter\r\n\t of  two lines  ").replace(
    "Hello",
    " \t Hello\t\t",
  ) +
    "\r\n \r\n\t\r\n\r\n",
  "UTF-8": letter.replace("A letter", "Grüße").replace("Hello", "你好"),
  "several fields of one name": letter.replace("To:", "Cc: a@example.com\r\nReply-To: b@example.com\r\nTo:"),
};

// ── OpenDKIM ───────────────────────────────────────────────────────────────────────────────────────

/** Runs a message through the filter as it would run in a mail server; what it adds on top. */
async function opendkim(folder: Folder, settings: readonly string[], message: string): Promise<string> {
  const config = await folder.write("opendkim.conf", settings.map((line) => `${line}\n`).join(""));
  const file = await folder.write("message.eml", message);
  const { code, stdout, stderr } = await run("/usr/sbin/opendkim", ["-x", config, "-t", file, "-vvv"]);
  equal(code, 0, stderr);
  return stdout;
}

const publicKeys = async (folder: Folder, keys: Readonly<Record<string, KeyFile>>) => {
  const lines = Object.entries(keys).map(([selector, { key }]) =>
    `${selector}._domainkey.example.net ${key.record}\n`
  );
  return [`TestPublicKeys ${await folder.write("keys.txt", lines.join(""))}`, "Mode v"];
};

for (const [title, text] of Object.entries(letters)) {
  Deno.test(`OpenDKIM verifies what dkim-sign signs: ${title}`, async () => {
    await using folder = await makeFolder();
    await using rsa = await keyFile("rsa");
    await using ed = await keyFile("ed25519");
    const keys = Object.entries({ r1: rsa, e1: ed }).map(([selector, { file }]) => ({
      domain: "example.net",
      selector,
      key: file,
    }));
    const message = await signed(keys, text);
    const verifying = await publicKeys(folder, { r1: rsa, e1: ed });
    const said = await opendkim(folder, verifying, message);
    match(said, /dkim=pass \(2048-bit key\) header\.d=example\.net .*header\.s=r1/);
    match(said, /dkim=pass header\.d=example\.net .*header\.a=ed25519-sha256 header\.s=e1/);
    const changed = await opendkim(folder, verifying, message.replace("Subject: ", "Subject: Re: "));
    ok(!changed.includes("dkim=pass") && changed.includes("dkim=fail"), changed);
  });
}

for (const kind of kinds) {
  for (const form of forms) {
    // OpenDKIM 2.11.0 folds such a field once more after it has signed it: it can't verify that itself.
    if (kind === "ed25519" && form.startsWith("simple/")) continue;
    Deno.test(`dkim verifies what OpenDKIM signs with ${kind}, ${form}`, async () => {
      await using folder = await makeFolder();
      await using key = await keyFile(kind);
      for (const [title, text] of Object.entries(letters)) {
        const said = await opendkim(folder, [
          "Mode s",
          "Domain example.net",
          "Selector s1",
          `KeyFile ${key.file}`,
          `SignatureAlgorithm ${kind}-sha256`,
          `Canonicalization ${form}`,
          "InternalHosts 0.0.0.0/0",
          "RequireSafeKeys no",
        ], text);
        const value = /hname='DKIM-Signature' hvalue='([^']+)'/.exec(said)?.[1];
        ok(value, said);
        const field = `DKIM-Signature: ${value.replaceAll("\n", "\r\n")}\r\n`;
        await using receiving = await server(["dkim"], key.dns("example.net", "s1"));
        await receiving.send({ to: "bob@example.org", content: field + text });
        ok(results(receiving).includes("dkim=pass header.d=example.net"), `${title}: ${results(receiving)}`);
        await receiving.send({
          to: "bob@example.org",
          content: field + text.replace("Subject: ", "Subject: Re: "),
        });
        ok(!results(receiving).includes("dkim=pass"), title);
      }
    });
  }
}

// ── dkimpy ─────────────────────────────────────────────────────────────────────────────────────────

/** Asks Debian's Python, whose packages these are. */
async function dkimpy<T>(how: Record<string, unknown>, message: string): Promise<T> {
  const script = join(root, "tests/e2e/clients/dkim_and_arc.py");
  const { code, stdout, stderr } = await run("/usr/bin/python3", [script, JSON.stringify(how)], {
    stdin: message,
  });
  equal(code, 0, stderr);
  return JSON.parse(stdout) as T;
}

/** Ed25519 keys are given to dkimpy as their seed. */
async function keyFor(kind: "rsa" | "ed25519", { file }: KeyFile): Promise<string> {
  const key = createPrivateKey(await Deno.readTextFile(file));
  if (kind === "rsa") return key.export({ type: "pkcs1", format: "pem" }) as string;
  return key.export({ type: "pkcs8", format: "der" }).subarray(-32).toString("base64");
}

for (const kind of kinds) {
  Deno.test(`dkimpy verifies what dkim-sign signs with ${kind}`, async () => {
    await using key = await keyFile(kind);
    for (const [title, text] of Object.entries(letters)) {
      const message = await signed([{ domain: "example.net", selector: "s1", key: key.file }], text);
      const how = { do: "verify", records: { "s1._domainkey.example.net": key.key.record } };
      deepEqual(await dkimpy(how, message), [true], title);
      deepEqual(await dkimpy(how, message.replace("Subject: ", "Subject: Re: ")), [false], title);
    }
  });

  for (const canonicalization of forms) {
    Deno.test(`dkim verifies what dkimpy signs with ${kind}, ${canonicalization}`, async () => {
      await using key = await keyFile(kind);
      const how = {
        do: "sign",
        domain: "example.net",
        selector: "s1",
        key: await keyFor(kind, key),
        algorithm: `${kind}-sha256`,
        canonicalization,
      };
      for (const [title, text] of Object.entries(letters)) {
        const field = await dkimpy<string>(how, text);
        await using receiving = await server(["dkim"], key.dns("example.net", "s1"));
        await receiving.send({ to: "bob@example.org", content: field + text });
        ok(results(receiving).includes("dkim=pass header.d=example.net"), `${title}: ${results(receiving)}`);
      }
    });
  }
}

/** Everybody's mail goes on to another server, sealed. */
const forward = definePlugin({
  name: "forward",
  setup(on, _options, host) {
    host.owns(["example.org"]);
    on(
      "resolve",
      ({ domain }) => domain === "example.org" ? accept({ to: ["bob@away.example"] }) : undefined,
    );
  },
});

Deno.test("arc and dkimpy seal each other's chains, and each finds the other's whole", async () => {
  await using own = await keyFile("rsa");
  await using theirs = await keyFile("rsa");
  const records = {
    "a1._domainkey.example.org": own.key.record,
    "p1._domainkey.list.example": theirs.key.record,
  };
  const dns = Object.fromEntries(Object.entries(records).map(([name, record]) => [name, { TXT: [record] }]));
  const seal = { domain: "example.org", selector: "a1", key: own.file };
  const throughUs = async (content: string) => {
    await using between = await testServer({
      plugins: [
        "spf",
        "dkim",
        ["arc", { seal }],
        ["dmarc", { enforce: false }],
        forward,
        mailboxes(["here.example"]),
      ],
      dns,
    });
    equal(
      (await between.send({ from: "alice@example.net", to: "bob@example.org", content })).outcome,
      "accepted",
    );
    return between.sent[0]!.content;
  };
  const throughThem = async (content: string, chain: string) => {
    const message = `Authentication-Results: list.example; arc=${chain}; dkim=none\r\n${content}`;
    const how = {
      do: "arc-seal",
      domain: "list.example",
      selector: "p1",
      key: await keyFor("rsa", theirs),
      algorithm: "rsa-sha256",
      name: "list.example",
      records,
    };
    return await dkimpy<string>(how, message) + message;
  };
  const ours = await throughUs(letter);
  deepEqual(await dkimpy({ do: "arc-verify", records }, ours), { state: "pass", reason: "success", sets: 1 });
  const twice = await throughThem(ours, "pass");
  const thrice = await throughUs(twice);
  equal(thrice.match(/^ARC-Seal:/gm)?.length, 3);
  deepEqual(await dkimpy({ do: "arc-verify", records }, thrice), {
    state: "pass",
    reason: "success",
    sets: 3,
  });
  await using receiving = await server(["arc"], dns);
  await receiving.send({ to: "bob@example.org", content: thrice });
  ok(results(receiving).includes("arc=pass"), results(receiving));
  const changed = thrice.replace("Hello", "Hallo");
  await receiving.send({ to: "bob@example.org", content: changed });
  ok(results(receiving).includes("arc=fail"), results(receiving));
  equal((await dkimpy<{ state: string }>({ do: "arc-verify", records }, changed)).state, "fail");
});

// ── A server that runs ─────────────────────────────────────────────────────────────────────────────

async function send(port: number, from: string, content: string): Promise<{ code: number; text: string }> {
  using client = await RawClient.connect(port);
  await client.say("EHLO client.test");
  await client.envelope(from, "bob@example.test");
  await client.send(`${content}\r\n.\r\n`);
  const { code, lines } = await client.reply();
  return { code, text: lines.join(" ") };
}

Deno.test("a server with keys of `dkim keygen`: signs, verifies, refuses what is forged, by a real DNS", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const keys = [{ domain: "own.test", selector: "r1", key: "keys/r1.pem" }, {
    domain: "own.test",
    selector: "e1",
    key: "keys/e1.pem",
  }];
  const signing = { use: "dkim-sign", with: { keys, networks: ["127.0.0.1"] } };
  const config = await writeSettings(folder, { plugins: [signing, maildir] });
  const made = await postrider(["dkim", "keygen", "r1.own.test", "r1", "--config", config]);
  equal(made.code, 2, "that key isn't in the configuration");
  equal((await postrider(["dkim", "keygen", "own.test", "r1", "--config", config])).code, 0);
  equal((await postrider(["dkim", "keygen", "--config", config, "--type", "ed25519"])).code, 0);
  const { code, stdout: records } = await postrider(["dkim", "records", "--config", config]);
  equal(code, 0);
  match(await checked(config), /no problem found/);

  // Signed by the running server…
  const first = undo.use(await ServerProcess.start(config));
  const text = letter.replaceAll("example.net", "own.test").trimEnd();
  equal((await send(first.port(), "alice@own.test", text)).code, 250);
  const [stored] = await untilMessages(mailboxOf(folder, "bob"), 1);
  equal(await first.stop(), 0);
  const written = new TextDecoder().decode(stored).replaceAll(/\r?\n/g, "\r\n");
  const message = written.slice(written.indexOf("DKIM-Signature:")).trimEnd();

  // … and verified by another one, that asks NSD, which has what `dkim records` printed.
  const zone = `${records}_dmarc.own TXT "v=DMARC1; p=reject"\nlame NS ns.lame\nns.lame A 127.0.0.1\n`;
  const nsd = undo.use(await startNsd(folder, { "test": zone, "lame.test": undefined }));
  const receivingConfig = await writeSettings(folder, {
    plugins: ["spf", "dkim", "dmarc", maildir],
    dns: { servers: [nsd.address] },
  });
  const second = undo.use(await ServerProcess.start(receivingConfig));
  equal((await send(second.port(), "alice@own.test", message)).code, 250);
  const delivered = await untilMessages(mailboxOf(folder, "bob"), 2);
  const found = delivered.map((one) => new TextDecoder().decode(one).replaceAll(/\r?\n[ \t]+/g, " "))
    .find((one) => one.includes("Authentication-Results:")) ?? "";
  match(
    found,
    /^Authentication-Results: mx\.example\.test; spf=none smtp\.mailfrom=own\.test; dkim=pass header\.d=own\.test .*header\.s=r1 .*; dkim=pass header\.d=own\.test .*header\.s=e1 .*; dmarc=pass header\.from=own\.test$/m,
  );
  const forged = await send(second.port(), "eve@evil.test", message.replace("Hello", "Hallo"));
  deepEqual([forged.code, forged.text.slice(0, 6)], [550, "5.7.26"], forged.text);
  // Whose DNS does not answer is told to come again, where he might be the author: one below him might.
  const unsure = letter.replace("alice@example.net", "alice@lame.test").trimEnd();
  equal((await send(second.port(), "alice@lame.test", unsure)).code, 250, "no policy is known");
  equal(await second.stop(), 0);
});

async function checked(config: string): Promise<string> {
  return (await postrider(["check", "--config", config])).stdout;
}
