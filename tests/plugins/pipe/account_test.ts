import { deepStrictEqual as deepEqual, strictEqual as equal, throws } from "node:assert/strict";
import { accountFor, type Machine } from "../../../plugins/pipe/account.ts";

const files: Record<string, string> = {
  "/etc/passwd":
    "root:x:0:0:root:/root:/bin/bash\n+::::::\nvmail:x:200:201:,,,:/var/vmail:\nme:x:1000:1000::/home/me:/bin/sh\ntoor:x:0:5::/:/bin/sh\n",
  "/etc/group": "root:x:0:\nmail:x:8:vmail\n",
};
const machine = (uid: number): Machine => ({ uid, readTextFile: (path) => files[path]! });

Deno.test("pipe account: root runs commands as the user that is named, with its group or another", () => {
  deepEqual(accountFor("vmail", undefined, machine(0)), {
    name: "vmail",
    uid: 200,
    gid: 201,
    home: "/var/vmail",
    shell: "/bin/sh",
  });
  equal(accountFor("vmail", "mail", machine(0)).gid, 8);
});

Deno.test("pipe account: root runs nothing as root", () => {
  throws(() => accountFor(undefined, undefined, machine(0)), /name a `user`/);
  for (const user of ["root", "toor"]) {
    throws(() => accountFor(user, undefined, machine(0)), /does not run as root/);
  }
  throws(() => accountFor("vmail", "root", machine(0)), /does not run as root/);
});

Deno.test("pipe account: who isn't root runs commands as itself only", () => {
  equal(accountFor(undefined, undefined, machine(1000)).home, "/home/me");
  equal(accountFor("me", undefined, machine(1000)).uid, 1000);
  throws(() => accountFor("vmail", undefined, machine(1000)), /only root can run a command as vmail/);
  throws(() => accountFor("me", "mail", machine(1000)), /only root/);
  throws(() => accountFor(undefined, "mail", machine(1000)), /wants a `user`/);
});

Deno.test("pipe account: who isn't there is told", () => {
  throws(() => accountFor("vmial", undefined, machine(0)), /no user vmial in \/etc\/passwd/);
  throws(() => accountFor("vmail", "male", machine(0)), /no group male/);
});
