import {
  deepStrictEqual as deepEqual,
  match,
  notStrictEqual as notEqual,
  rejects,
  strictEqual as equal,
} from "node:assert/strict";
import { wholeBody } from "../../../plugins/final_copy.ts";
import { Aborted, deliver, type Writer } from "../../../plugins/maildir/delivery.ts";
import type { Disk } from "../../../plugins/maildir/disk.ts";
import { Mailboxes, OutsideRoot } from "../../../plugins/maildir/mailbox.ts";
import { files, folder, recorded, systemError } from "./disk.ts";

const top = new TextEncoder().encode("Delivered-To: alice@example.org\n");
const body = wholeBody(new TextEncoder().encode("Subject: x\r\n\r\nhello\r\n"), "lf", false);
const stored = "Delivered-To: alice@example.org\nSubject: x\n\nhello\n";
const never = new AbortController().signal;

function writer(root: string, disk: Disk, uniqueName?: () => string): Writer {
  let number = 0;
  return { disk, mailboxes: new Mailboxes(root, disk), uniqueName: uniqueName ?? (() => `name${++number}`) };
}

Deno.test("M01 tmp, write, fdatasync, link, fsync of new, unlink: in this order", async () => {
  await using root = await folder();
  const disk = recorded();
  const path = `${root.path}/example.org/alice`;
  const to = writer(root.path, disk);
  const name = await deliver(to, path, top, 1, body, never);
  equal(name, `name1,S=${stored.length},W=${stored.length + 4}`);
  equal(await Deno.readTextFile(`${path}/new/${name}`), stored);
  equal((await Deno.stat(`${path}/new/${name}`)).mode! & 0o777, 0o600);
  deepEqual(disk.done.slice(-6), [
    `create ${path}/tmp/name1`,
    `write ${path}/tmp/name1`,
    `fdatasync ${path}/tmp/name1`,
    `link ${path}/new/${name}`,
    `fsync ${path}/new`,
    `remove ${path}/tmp/name1`,
  ]);
  disk.done.length = 0;
  await deliver(to, path, top, 1, body, never);
  equal(disk.done.length, 6, "a mailbox that is known costs no other operation");
});

Deno.test("M02 new directories are 0700, and synced up to the parent that was there", async () => {
  await using root = await folder();
  const disk = recorded();
  const mailboxes = new Mailboxes(`${root.path}/mail`, disk);
  await mailboxes.open(`${root.path}/mail/example.org/alice`);
  const mail = `${root.path}/mail`;
  deepEqual(disk.done.map((line) => line.replace(root.path, "")), [
    `mkdir /mail`,
    `fsync `,
    `mkdir /mail/example.org`,
    `fsync /mail`,
    `mkdir /mail/example.org/alice`,
    `fsync /mail/example.org`,
    ...["tmp", "new", "cur"].flatMap((
      name,
    ) => [`mkdir /mail/example.org/alice/${name}`, `fsync /mail/example.org/alice`]),
  ]);
  for (const path of [mail, `${mail}/example.org`, `${mail}/example.org/alice/new`]) {
    equal((await Deno.stat(path)).mode! & 0o777, 0o700, path);
  }
});

Deno.test("M02 symbolic links are not followed out of the root, wherever they stand", async () => {
  for (const link of ["example.org", "example.org/alice", "example.org/alice/tmp", "example.org/alice/new"]) {
    await using root = await folder();
    await using outside = await folder();
    const parts = link.split("/").slice(0, -1).join("/");
    await Deno.mkdir(`${root.path}/${parts}`, { recursive: true });
    await Deno.symlink(outside.path, `${root.path}/${link}`);
    const attempt = deliver(
      writer(root.path, recorded()),
      `${root.path}/example.org/alice`,
      top,
      1,
      body,
      never,
    );
    await rejects(attempt, OutsideRoot, link);
    deepEqual(await files(outside.path), [], link);
    equal([...Deno.readDirSync(outside.path)].length, 0, link);
  }
});

Deno.test("M02 a symbolic link to nowhere is not written through", async () => {
  await using root = await folder();
  await using outside = await folder();
  await Deno.symlink(`${outside.path}/made`, `${root.path}/alice`);
  await rejects(deliver(writer(root.path, recorded()), `${root.path}/alice`, top, 1, body, never));
  equal([...Deno.readDirSync(outside.path)].length, 0);
});

Deno.test("a root that is itself a link, and links inside it, are the operator's business", async () => {
  await using root = await folder();
  await Deno.mkdir(`${root.path}/disk2/alice`, { recursive: true });
  await Deno.symlink(`${root.path}/disk2`, `${root.path}/mail`);
  await Deno.symlink("alice", `${root.path}/disk2/bob`);
  const name = await deliver(
    writer(`${root.path}/mail`, recorded()),
    `${root.path}/mail/bob`,
    top,
    1,
    body,
    never,
  );
  deepEqual(await files(`${root.path}/disk2/alice`), [`new/${name}`]);
});

Deno.test("M03 a failure at any operation leaves nothing visible, and the next delivery works", async () => {
  await using probe = await folder();
  const counted = recorded();
  await deliver(writer(probe.path, counted), `${probe.path}/alice`, top, 1, body, never);
  const operations = counted.done.length - 1; // the last one, unlink of tmp, may fail: the message is kept
  for (let failing = 0; failing < operations; failing++) {
    await using root = await folder();
    let broken = true;
    const disk = recorded((operation, number) => {
      if (broken && number === failing && !operation.startsWith("remove")) throw systemError("EIO");
    });
    const to = writer(root.path, disk);
    await rejects(deliver(to, `${root.path}/alice`, top, 1, body, never), /EIO/, `operation ${failing}`);
    deepEqual(await files(root.path), [], `operation ${failing}: ${disk.done.at(-1)}`);
    broken = false;
    const name = await deliver(to, `${root.path}/alice`, top, 1, body, never);
    deepEqual(await files(root.path), [`alice/new/${name}`]);
  }
});

Deno.test("a tmp file that can't be removed does not undo the delivery", async () => {
  await using root = await folder();
  const disk = recorded((operation) => {
    if (operation.startsWith("remove")) throw systemError("EIO");
  });
  const name = await deliver(writer(root.path, disk), `${root.path}/alice`, top, 1, body, never);
  deepEqual(await files(root.path), [`alice/new/${name}`, "alice/tmp/name1"]);
});

Deno.test("M01 a name that is taken, in tmp or in new, is replaced by another; nothing is overwritten", async () => {
  await using root = await folder();
  const path = `${root.path}/alice`;
  const disk = recorded();
  const names = ["taken", "taken", "free1", "free2"];
  const to = writer(root.path, disk, () => names.shift()!);
  await to.mailboxes.open(path);
  await Deno.writeTextFile(`${path}/tmp/taken`, "theirs");
  await Deno.writeTextFile(`${path}/new/free1,S=${stored.length},W=${stored.length + 4}`, "theirs too");
  const name = await deliver(to, path, top, 1, body, never);
  match(name, /^free2,/);
  equal(await Deno.readTextFile(`${path}/tmp/taken`), "theirs");
  equal(await Deno.readTextFile(`${path}/new/free1,S=${stored.length},W=${stored.length + 4}`), "theirs too");
  equal(await Deno.readTextFile(`${path}/new/${name}`), stored);
});

Deno.test("names that are always taken end in an error, not in a loop", async () => {
  await using root = await folder();
  const to = writer(root.path, recorded(), () => "same");
  await to.mailboxes.open(`${root.path}/alice`);
  await Deno.writeTextFile(`${root.path}/alice/tmp/same`, "theirs");
  await rejects(deliver(to, `${root.path}/alice`, top, 1, body, never), Deno.errors.AlreadyExists);
});

Deno.test("an aborted delivery never becomes visible, up to the last instant before the link", async () => {
  await using root = await folder();
  const aborter = new AbortController();
  const disk = recorded((operation) => {
    if (operation.startsWith("fdatasync")) aborter.abort();
  });
  await rejects(
    deliver(writer(root.path, disk), `${root.path}/alice`, top, 1, body, aborter.signal),
    Aborted,
  );
  deepEqual(await files(root.path), []);
});

Deno.test("a mailbox that was removed meanwhile is made again", async () => {
  await using root = await folder();
  const to = writer(root.path, recorded());
  await deliver(to, `${root.path}/alice`, top, 1, body, never);
  await Deno.remove(`${root.path}/alice`, { recursive: true });
  const name = await deliver(to, `${root.path}/alice`, top, 1, body, never);
  deepEqual(await files(root.path), [`alice/new/${name}`]);
});

Deno.test("remembered mailboxes are bounded, and the one used last stays", async () => {
  await using root = await folder();
  const mailboxes = new Mailboxes(root.path, recorded(), 2);
  const [a, b, c] = ["a", "b", "c"].map((name) => `${root.path}/${name}`) as [string, string, string];
  const first = await mailboxes.open(a);
  const second = await mailboxes.open(b);
  equal(await mailboxes.open(a), first);
  await mailboxes.open(c);
  equal(await mailboxes.open(a), first);
  notEqual(await mailboxes.open(b), second);
});

Deno.test("M01 a signal that comes while new is synced takes the message back: it will be delivered again", async () => {
  await using root = await folder();
  const path = `${root.path}/alice`;
  const aborter = new AbortController();
  const disk = recorded((operation) => {
    if (operation === `fsync ${path}/new`) aborter.abort();
  });
  await rejects(deliver(writer(root.path, disk), path, top, 1, body, aborter.signal), Aborted);
  deepEqual(await files(root.path), []);
});
