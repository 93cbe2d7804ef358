/** What happens where descriptors run out, in a process of its own. */
import { match, ok, strictEqual as equal } from "node:assert/strict";

for (const module of ["server/descriptors.ts", "plugins/worker_room.ts"]) {
  Deno.test(`Q03 where descriptors are few, starting a Worker is an error (${module}); the runtime would end the process`, async () => {
    const code = `
    const { assertRoomForWorker } = await import(${JSON.stringify(new URL(`../${module}`, import.meta.url))});
    assertRoomForWorker();
    const files = [];
    try { for (;;) files.push(Deno.openSync("/dev/null")); } catch { /* there are no more */ }
    for (const file of files.splice(0, 8)) file.close();
    try { assertRoomForWorker(); console.log("room"); } catch (error) { console.log(error.message); }
    for (const file of files) file.close();
    assertRoomForWorker();
    console.log("room again");`;
    const { stdout, success } = await new Deno.Command("sh", {
      args: ["-c", 'ulimit -n 200; exec "$0" eval "$1"', Deno.execPath(), code],
      stdout: "piped",
    }).output();
    ok(success);
    match(new TextDecoder().decode(stdout), /^Too many open files.*\nroom again\n$/);
  });
}

for (const port of ["http-submit", "admin"]) {
  Deno.test(`X02 descriptors that run out end the port of ${port} for a moment, not for good`, async () => {
    const script = new URL("./http_exhausted.ts", import.meta.url).pathname;
    const { stdout, stderr } = await new Deno.Command("sh", {
      args: [
        "-c",
        'ulimit -n 200; exec timeout 60 "$0" run -A --no-check "$1" "$2"',
        Deno.execPath(),
        script,
        port,
      ],
      stdout: "piped",
      stderr: "piped",
    }).output();
    equal(new TextDecoder().decode(stdout), "here\n", new TextDecoder().decode(stderr));
  });
}
