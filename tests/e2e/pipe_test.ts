/** Commands that mail is piped to: Debian's procmail and maildrop, filing and refusing for real. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { onlyMessage, readMaildir } from "./mailbox.ts";
import { run } from "./programs.ts";
import { postrider, ServerProcess } from "./server.ts";
import { deliver, deliverOn, mailboxOf, maildir, writeSettings } from "./small_server.ts";

const root = Deno.uid() === 0;
/** Root runs no command as root. */
const as = root ? { user: "nobody" } : {};

/** A folder that whoever the command runs as may write to. */
async function shared(folder: Folder): Promise<string> {
  const path = folder.at("filed");
  await Deno.mkdir(path);
  await Deno.chmod(folder.path, 0o755);
  await Deno.chmod(path, 0o777);
  return path;
}

/** A filter as its program wants it: readable to its user alone. */
async function filter(folder: Folder, name: string, text: string): Promise<string> {
  const path = await folder.write(name, text);
  await Deno.chmod(path, 0o600);
  if (root) await Deno.chown(path, 65534, 65534);
  return path;
}

async function program(name: string): Promise<string> {
  const { code, stdout } = await run("sh", ["-c", `command -v ${name}`]);
  ok(code === 0, `${name} is not there: apt-get install ${name}. The tests in tests/e2e need it.`);
  return stdout.trim();
}

/** procmail, called as its manual says for a mail server: `-t` makes its troubles temporary. */
async function procmail(folder: Folder) {
  const filed = await shared(folder);
  const rc = await filter(
    folder,
    "procmailrc",
    [
      `MAILDIR=${filed}`,
      "DEFAULT=$MAILDIR/inbox/",
      "ORGMAIL=$DEFAULT", // else it falls back on /var/mail
      "LOGFILE=$MAILDIR/log",
      "TAG=$1",
      ":0",
      "* ^Subject: spam",
      "{",
      "  EXITCODE=77",
      "  HOST",
      "}",
      ":0",
      "* TAG ?? ^lists$",
      "lists/",
      "",
    ].join("\n"),
  );
  const pipe = {
    use: "pipe",
    with: {
      command: await program("procmail"),
      arguments: ["-t", "-f", "{sender}", "-a", "{tag}", rc],
      domains: ["example.test"],
      ...as,
    },
  };
  return { filed, config: await writeSettings(folder, { plugins: [pipe] }) };
}

Deno.test("procmail files what it is given, by sub-address, and refuses by its exit code", async () => {
  await using folder = await makeFolder();
  const { filed, config } = await procmail(folder);
  await using server = await ServerProcess.start(config);
  await deliver(server.port(), "alice");
  await deliver(server.port(), "alice+lists", "for a list");
  for (const to of ["alice@example.test", "alice+lists@example.test"]) {
    await server.logged("delivered", (line) => line["to"] === to);
  }
  const plain = await onlyMessage(`${filed}/inbox`);
  equal(plain.returnPath, "<bob@elsewhere.test>");
  equal(plain.deliveredTo, "alice@example.test");
  equal(plain.content.toString(), "Subject: alice\n\nHello.\n");
  const listed = await onlyMessage(`${filed}/lists`);
  equal(listed.deliveredTo, "alice+lists@example.test");

  await deliver(server.port(), "alice", "spam");
  const failed = await server.logged("bounced", ({ transport }) => transport === "pipe");
  match(String(failed["reply"]), /5\.7\.0 /);
  equal((await readMaildir(`${filed}/inbox`)).length, 1);
  deepEqual((await Deno.stat(`${filed}/inbox`)).uid, root ? 65534 : Deno.uid());
});

Deno.test("procmail that can't write asks to try again, and the message stays in the queue", async () => {
  await using folder = await makeFolder();
  const { filed, config } = await procmail(folder);
  await Deno.mkdir(`${filed}/inbox`);
  await Deno.writeTextFile(`${filed}/inbox/new`, "in the way");
  await using server = await ServerProcess.start(config);
  await deliver(server.port(), "alice");
  const deferred = await server.logged("deferred", ({ transport }) => transport === "pipe");
  match(String(deferred["reply"]), /4\.\d\.\d /);
  const { stdout } = await postrider(["queue", "list", "--config", config, "--json"]);
  equal(JSON.parse(stdout)[0].recipients[0].state, "deferred");
});

Deno.test("maildrop, run before the client is answered: its exit code and its words are the reply", async () => {
  await using folder = await makeFolder();
  const filed = await shared(folder);
  const rules = await filter(
    folder,
    "mailfilter",
    [
      "if (/^Subject: spam/)",
      "{",
      '  echo "5.7.1 We do not want this here"',
      "  EXITCODE=77",
      "  exit",
      "}",
      `to "${filed}/$EXTENSION"`,
      "",
    ].join("\n"),
  );
  await run("maildirmake.maildrop", [`${filed}/box`]);
  if (root) await run("chown", ["-R", "nobody:nogroup", filed]);
  const config = await writeSettings(folder, {
    plugins: [{
      use: "pipe",
      as: "maildrop",
      with: {
        command: await program("maildrop"),
        arguments: [rules],
        environment: { EXTENSION: "{tag}" },
        recipients: ["robot@example.test"],
        beforeReply: true,
        ...as,
      },
    }, maildir],
  });
  await using server = await ServerProcess.start(config);
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await deliverOn(client, "robot+box", "wanted");
  const { content, deliveredTo } = await onlyMessage(`${filed}/box`);
  equal(deliveredTo, "robot+box@example.test");
  equal(content.toString(), "Subject: wanted\n\nHello.\n");

  await client.envelope("bob@elsewhere.test", "robot+box@example.test");
  const reply = await client.say("Subject: spam\r\n\r\nx\r\n.", 550);
  deepEqual(reply.lines, ["5.7.1 We do not want this here"]);
  equal((await readMaildir(`${filed}/box`)).length, 1);

  await deliverOn(client, "alice", "for a mailbox of ours");
  equal((await readMaildir(mailboxOf(folder, "alice"))).length, 1);
  await client.say("MAIL FROM:<bob@elsewhere.test>");
  await client.say('RCPT TO:<"../../etc"@example.test>', 550);
});
