import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { changeUsersFile, listUsersFile, UsersFile } from "../../../plugins/auth/file.ts";
import { cheapHash, fakeHost, inDirectory } from "./rig.ts";

const hash = cheapHash("secret");
const entry = (name: string, of = hash) => `${name}: { password: "${of}" }\n`;

Deno.test("a missing users file is a warning, and is found when it is made", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    const host = fakeHost();
    const users = await UsersFile.open(file, host);
    equal((await users.now()).size, 0);
    deepEqual(host.lines.map(({ level, fields }) => [level, fields["file"]]), [["warning", file]]);
    await Deno.writeTextFile(file, entry("a@b.c"), { mode: 0o600 });
    equal((await users.now()).size, 0); // within the second the disk is not asked
    await host.clock.advance(1000);
    equal((await users.now()).get("a@b.c")?.name, "a@b.c");
    equal(host.lines.length, 2);
  }));

Deno.test("a broken users file at the start is an error with file, line and column", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    await Deno.writeTextFile(file, `a@b.c: { password: "" }\nb: {}\n`);
    await rejects(UsersFile.open(file, fakeHost()), ({ message }: Error) => {
      const lines = message.split("\n");
      ok(lines[0]!.startsWith(`${file}:1:20: `) && lines[1]!.startsWith(`${file}:2:1: `), message);
      return true;
    });
    await Deno.writeFile(file, new Uint8Array([0xff, 0xfe]));
    await rejects(UsersFile.open(file, fakeHost()), /users\.yaml: /);
    await rejects(UsersFile.open(directory, fakeHost()), { message: /^\// });
  }));

Deno.test("a users file that breaks leaves the accounts as they were, and says once where", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    await Deno.writeTextFile(file, entry("a@b.c"), { mode: 0o600 });
    const host = fakeHost();
    const users = await UsersFile.open(file, host);
    await Deno.writeTextFile(file, entry("a@b.c") + "b@b.c: secret word\n");
    for (let i = 0; i < 3; i++) {
      await host.clock.advance(1000);
      equal((await users.now()).size, 1);
    }
    const said = host.lines.map(({ level, text }) => `${level} ${text}`);
    equal(said.length, 2);
    match(said[0]!, /^error .*users\.yaml:2:8: /);
    ok(!JSON.stringify(host.lines).includes("secret word"));
    await Deno.writeTextFile(file, entry("a@b.c") + entry("b@b.c"));
    await host.clock.advance(1000);
    equal((await users.now()).size, 2);
  }));

Deno.test("a users file that vanishes for a moment changes nothing; one that stays away locks everybody out", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    await Deno.writeTextFile(file, entry("a@b.c"), { mode: 0o600 });
    const host = fakeHost();
    const users = await UsersFile.open(file, host);
    const sizeLater = async () => {
      await host.clock.advance(1000);
      return (await users.now()).size;
    };
    await Deno.rename(file, `${file}~`);
    equal(await sizeLater(), 1);
    await Deno.rename(`${file}~`, file);
    equal(await sizeLater(), 1);
    deepEqual(host.lines, []);
    await Deno.remove(file);
    equal(await sizeLater(), 1);
    equal(await sizeLater(), 0);
    equal(await sizeLater(), 0);
    deepEqual(host.lines.map(({ level }) => level), ["warning"]);
    await Deno.writeTextFile(file, entry("a@b.c"), { mode: 0o600 });
    equal(await sizeLater(), 1);
  }));

Deno.test("many logins at once ask the disk once, and a clock set back does not stop the looking", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    await Deno.writeTextFile(file, entry("a@b.c"), { mode: 0o600 });
    const host = fakeHost();
    const users = await UsersFile.open(file, host);
    ok(!(users.now() instanceof Promise));
    host.clock.step(-5000);
    const [one, other] = [users.now(), users.now()];
    ok(one instanceof Promise);
    equal(one, other);
    await one;
    ok(!(users.now() instanceof Promise));
  }));

Deno.test("a users file that everybody may read is a warning", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    await Deno.writeTextFile(file, entry("a@b.c"));
    await Deno.chmod(file, 0o644);
    const host = fakeHost();
    await UsersFile.open(file, host);
    match(host.lines[0]!.text, /chmod 600/);
  }));

Deno.test("the first account makes the file, for its owner only, and leaves nothing else behind", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    deepEqual(await listUsersFile(file), []);
    deepEqual(await changeUsersFile(file, { action: "add", name: "a@b.c", hash }), { outcome: "edited" });
    equal((await Deno.stat(file)).mode! & 0o777, 0o600);
    deepEqual(await listUsersFile(file), ["a@b.c"]);
    deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["users.yaml"]);
  }));

Deno.test("a change keeps the file's mode and a symbolic link to it", () =>
  inDirectory(async (directory) => {
    const [file, link] = [`${directory}/real.yaml`, `${directory}/users.yaml`];
    await Deno.writeTextFile(file, entry("a@b.c"));
    await Deno.chmod(file, 0o640);
    await Deno.symlink("real.yaml", link);
    equal((await changeUsersFile(link, { action: "add", name: "b@b.c", hash })).outcome, "edited");
    equal((await Deno.lstat(link)).isSymlink, true);
    equal((await Deno.stat(file)).mode! & 0o777, 0o640);
    deepEqual(await listUsersFile(file), ["a@b.c", "b@b.c"]);
  }));

Deno.test("concurrent changes lose nobody, and a reader always sees a whole file", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    const names = Array.from({ length: 20 }, (_, i) => `user${i}@b.c`);
    let reading = true;
    const reader = (async () => {
      for (let seen = 0; reading;) {
        const now = (await listUsersFile(file)).length; // throws on half a file
        ok(now >= seen);
        seen = now;
      }
    })();
    const changes = names.map((name) => changeUsersFile(file, { action: "add", name, hash }));
    deepEqual(new Set((await Promise.all(changes)).map(({ outcome }) => outcome)), new Set(["edited"]));
    reading = false;
    await reader;
    deepEqual(new Set(await listUsersFile(file)), new Set(names));
  }));

Deno.test("of two commands that add the same account one is told", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    const add = () => changeUsersFile(file, { action: "add", name: "a@b.c", hash });
    const outcomes = (await Promise.all([add(), add()])).map(({ outcome }) => outcome);
    deepEqual(outcomes.sort(), ["edited", "exists"]);
  }));

Deno.test("a file that stays locked is left alone", () =>
  inDirectory(async (directory) => {
    using other = await Deno.open(directory, { read: true });
    await other.lock(true);
    const file = `${directory}/users.yaml`;
    const changed = await changeUsersFile(file, { action: "add", name: "a@b.c", hash }, { patience: 0 });
    deepEqual([changed.outcome, await listUsersFile(file)], ["locked", []]);
  }));

Deno.test("a broken file is not rewritten", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/users.yaml`;
    const text = entry("a@b.c") + "b: nonsense # do not touch\n";
    await Deno.writeTextFile(file, text);
    const changed = await changeUsersFile(file, { action: "remove", name: "a@b.c" });
    ok(changed.outcome === "broken");
    ok(changed.problems[0]!.startsWith(`${file}:2:1: `), changed.problems[0]);
    equal(await Deno.readTextFile(file), text);
    await rejects(listUsersFile(file), /users\.yaml:2:1: /);
  }));
