import { deepStrictEqual as deepEqual, match, strictEqual as equal, throws } from "node:assert/strict";
import { dropPrivileges, PrivilegeError } from "../server/privileges.ts";

const root = Deno.uid() === 0;

Deno.test("privileges: an unknown user is named, with what to do", () => {
  throws(() => dropPrivileges("no-such-user"), {
    name: "PrivilegeError",
    message:
      "there is no user no-such-user in /etc/passwd: make it (useradd --system no-such-user), or correct `user:`.",
  });
});

Deno.test("privileges: becoming who one is already does nothing", () => {
  const passwd = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"));
  const own = passwd.find((fields) => Number(fields[2]) === Deno.uid())?.[0];
  if (own !== undefined) dropPrivileges(own);
  else throws(() => dropPrivileges("root"), PrivilegeError);
});

/** Runs a program in a process of its own: what it does can't be undone. */
async function run(program: string): Promise<{ out: string; err: string; code: number }> {
  const module = new URL("../server/privileges.ts", import.meta.url).href;
  const { stdout, stderr, code } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", `import { dropPrivileges } from "${module}";\n${program}`],
    env: { NO_COLOR: "1" },
  }).output();
  return { out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr), code };
}

Deno.test({
  name: "privileges: root becomes another user for good, in every thread and group",
  ignore: !root,
  async fn() {
    const { out, err, code } = await run(`
      import process from "node:process";
      await Deno.writeFile("/dev/null", new Uint8Array(1)); // so that there are worker threads
      dropPrivileges("nobody");
      const seen = new Set();
      for (const { name } of Deno.readDirSync("/proc/self/task")) {
        const status = Deno.readTextFileSync("/proc/self/task/" + name + "/status");
        seen.add(["Uid", "Gid", "Groups", "CapEff"].map((key) =>
          new RegExp("^" + key + ":\\\\s*(.*?)\\\\s*$", "m").exec(status)[1].replaceAll("\\t", " ")).join("|"));
      }
      let back = "open";
      try { process.setuid(0); } catch { back = "closed"; }
      console.log(JSON.stringify({ threads: [...Deno.readDirSync("/proc/self/task")].length, seen: [...seen], back }));
    `);
    equal(code, 0, err);
    const { threads, seen, back } = JSON.parse(out);
    const nobody = Deno.readTextFileSync("/etc/passwd").split("\n").find((line) =>
      line.startsWith("nobody:")
    )!;
    const [, , uid, gid] = nobody.split(":");
    deepEqual(seen, [`${uid} ${uid} ${uid} ${uid}|${gid} ${gid} ${gid} ${gid}|${gid}|0000000000000000`]);
    equal(back, "closed");
    equal(threads > 1, true, "the test needs several threads");
  },
});

Deno.test({
  name: "privileges: an ordinary user can't become another, and is told",
  ignore: !root,
  async fn() {
    const { err, code } = await run(`dropPrivileges("nobody"); dropPrivileges("daemon");`);
    equal(code, 1);
    match(err, /can't change to user daemon: only root can\. Start as root, or take out `user:`\./);
  },
});
