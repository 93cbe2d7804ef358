/** The archive in an S3-compatible store: s3rver, in a process of its own. It knows who has a key; signatures are checked in the unit test. */
import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { makeFolder } from "./folder.ts";
import { end, freePort, untilListening } from "./ports.ts";
import { spawn } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { deliver, maildir, writeSettings } from "./small_server.ts";

/** Not in `deno.json`: a hundred packages, that whoever starts the server would fetch. */
const s3rver = (folder: string, port: number) =>
  spawn(Deno.execPath(), [
    ...["run", "-A", "--no-config", "--no-lock", "npm:s3rver@3.7.1"],
    ...["--directory", folder, "--address", "127.0.0.1", "--port", String(port)],
    ...["--configure-bucket", "mail", "--silent"],
  ], { stdin: "null", stdout: "null", stderr: "null" });

/** What the store has, by path. */
async function objects(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  async function look(path: string): Promise<void> {
    for await (const { name, isDirectory } of Deno.readDir(`${folder}/${path}`)) {
      if (isDirectory) await look(`${path}/${name}`);
      else if (name.endsWith("_object")) {
        found.set(`${path}/${name}`, await Deno.readTextFile(`${folder}/${path}/${name}`));
      }
    }
  }
  await look("mail");
  return found;
}

Deno.test("archive: an S3-compatible store that is down at first has the message and its envelope in the end", async () => {
  await using folder = await makeFolder();
  const port = freePort();
  const store = folder.at("store");
  await Deno.mkdir(store);
  const s3 = {
    ...{ endpoint: `http://127.0.0.1:${port}`, bucket: "mail", prefix: "kept/" },
    ...{ accessKeyId: "S3RVER", secretAccessKey: "S3RVER", region: "us-east-1" },
  };
  const wrong = { ...s3, accessKeyId: "another" };
  const config = await writeSettings(folder, {
    plugins: [
      { use: "archive", with: { s3 } },
      { use: "archive", as: "wrong", with: { s3: wrong } },
      maildir,
    ],
    outbound: { retry: ["1s"] },
  });
  await using server = await ServerProcess.start(config);
  await deliver(server.port(), "alice", "Hello");
  await server.logged("deferred", ({ transport }) => transport === "archive");
  const child = s3rver(store, port);
  try {
    await untilListening(child, "s3rver", port);
    const { reply } = await server.logged("delivered", ({ transport }) => transport === "archive");
    match(String(reply), /archived as mail\/kept\/\d{4}\/\d\d\/\d\d\//);
    const { reply: why } = await server.logged(
      "deferred",
      ({ transport, reply }) => transport === "wrong" && /403/.test(String(reply)),
    );
    match(String(why), /403 InvalidAccessKeyId/);
    const name = /([^/]+)\.eml$/.exec(String(reply))?.[1];
    const found = await objects(store);
    const of = (suffix: string) => [...found].find(([path]) => path.includes(`${name}.${suffix}`))?.[1] ?? "";
    match(of("eml"), /^Received: [^]*Subject: Hello\r\n\r\nHello\.\r\n$/);
    const { from, to } = JSON.parse(of("json"));
    deepEqual({ from, to }, { from: "bob@elsewhere.test", to: ["alice@example.test"] });
    equal(found.size, 2);
  } finally {
    await end(child);
  }
});
