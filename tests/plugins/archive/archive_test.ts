import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import aws4 from "aws4";
import { folderOf, topOf } from "../../../plugins/archive/maildir.ts";
import { objectName } from "../../../plugins/archive/s3.ts";
import { mailboxes, testServer } from "../../../server/testing/mod.ts";

const note = {
  ...{ id: "M1", at: Date.UTC(2026, 0, 2), from: "a@b.c", to: ["x@y.z", "u@v.w"] },
  ...{ ip: "192.0.2.1", helo: "evil\r\nBcc: x", user: "" },
};

Deno.test("archive: a folder and a name by the day of arrival, the same at each attempt", () => {
  equal(folderOf("/a/{year}/{month}-{day}", note.at), "/a/2026/01-02");
  equal(objectName("mail/", note), "mail/2026/01/02/M1");
});

Deno.test("archive: the envelope stands on top, and nothing that a client said makes a line", () => {
  const top = topOf(note);
  match(top, /^Return-Path: <a@b\.c>\nX-Envelope-From: <a@b\.c>\nX-Envelope-To: <x@y\.z>,\n <u@v\.w>\n/);
  equal(/^Bcc/m.test(top), false);
});

async function filesIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(folder)) found.push(await Deno.readTextFile(`${folder}/${name}`));
  return found;
}

Deno.test("archive: a copy of what comes is a file, with all recipients; what is refused is not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using server = await testServer({
      plugins: [
        ["archive", { of: "incoming", domains: ["example.org"], maildir: `${folder}/box/{year}` }],
        mailboxes(["example.org", "example.com"]),
      ],
    });
    await server.send({ to: ["alice@example.org", "eve@example.com"], headers: { Subject: "Hello" } });
    await server.send({ to: "eve@example.com" });
    await server.settled();
    const year = new Date(server.clock.now()).getUTCFullYear();
    const [file, ...more] = await filesIn(`${folder}/box/${year}/new`);
    equal(more.length, 0);
    match(
      file!,
      /^Return-Path: <sender@example\.net>\n[^]*X-Envelope-To: <alice@example\.org>,\n <eve@example\.com>\n/,
    );
    match(file!, /\nSubject: Hello\n/);
    equal(server.delivered.length, 3);
    equal((await server.queue()).length, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("archive: one that can't be written is tried again, and tells no author", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/box`, "in the way");
    await using server = await testServer({
      plugins: [["archive", { maildir: `${folder}/box/mail` }], mailboxes(["example.org", "example.net"])],
    });
    equal((await server.send({ to: "alice@example.org" })).outcome, "accepted");
    await server.settled();
    equal(server.delivered.length, 1);
    const [copy] = (await server.queue())[0]!.recipients.filter(({ state }) => state !== "delivered");
    match(copy!.reply!, /The archive can't be written/);
    ok(server.log.of("the archive can't be written").length > 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("archive: to an address here, and elsewhere from <>", async () => {
  await using server = await testServer({
    plugins: [
      { use: "archive", as: "here", with: { to: "keeper@example.org" } },
      { use: "archive", as: "there", with: { to: "keeper@elsewhere.example" } },
      mailboxes(["example.org"]),
    ],
  });
  await server.send({ to: "alice@example.org" });
  await server.settled();
  deepEqual(server.delivered.map(({ to }) => to).sort(), ["alice@example.org", "keeper@example.org"]);
  deepEqual(server.sent.map(({ from, to }) => [from, to]), [["", ["keeper@elsewhere.example"]]]);
});

Deno.test("archive: mistakes in its options are told at the start", async () => {
  const refused = (options: unknown, why: RegExp) =>
    rejects(testServer({ plugins: [["archive", options]] }), why);
  await refused({}, /needs one of `maildir`, `s3` and `to`/);
  await refused({ maildir: "/a", to: "a@b.c" }, /not several/);
  await refused({ maildir: "/a/{user}" }, /no placeholder/);
  const s3 = { endpoint: "https://x.example", bucket: "mail", accessKeyId: "a" };
  await refused({ s3 }, /secretAccessKey/);
  await refused({ s3: { ...s3, secretAccessKey: "b", endpoint: "https://a:b@x.example" } }, /nothing more/);
  await refused({ s3: { ...s3, secretAccessKey: "b", prefix: "../" } }, /not a prefix|bucket/);
});

/** Whether another library comes to the same signature over what has arrived. */
async function isSigned(request: Request, secretAccessKey: string): Promise<boolean> {
  const { pathname, host } = new URL(request.url);
  const given = request.headers.get("authorization") ?? "";
  const signed = /SignedHeaders=([^,]+)/.exec(given)?.[1]?.split(";") ?? [];
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await request.arrayBuffer())).toHex();
  if (hash !== request.headers.get("x-amz-content-sha256")) return false;
  const headers = Object.fromEntries(signed.map((name) => [name, request.headers.get(name) ?? ""]));
  const asked = {
    service: "s3",
    region: "eu-central-1",
    method: request.method,
    path: pathname,
    host,
    headers,
  };
  const { headers: made } = aws4.sign(asked, { accessKeyId: "writer", secretAccessKey });
  return (made as Record<string, string>)["Authorization"] === given;
}

Deno.test("archive: what is put into the store is signed as another library would, message first, envelope last", async () => {
  const got: [path: string, right: boolean, wrong: boolean, body: string][] = [];
  await using store = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const body = await request.clone().text();
    got.push([pathname, await isSigned(request.clone(), "secret/+"), await isSigned(request, "other"), body]);
    return new Response();
  });
  const s3 = {
    ...{
      endpoint: `http://127.0.0.1:${store.addr.port}`,
      bucket: "mail",
      region: "eu-central-1",
      prefix: "kept/",
    },
    ...{ accessKeyId: "writer", secretAccessKey: "secret/+" },
  };
  await using server = await testServer({ plugins: [["archive", { s3 }], mailboxes(["example.org"])] });
  await server.send({ to: "alice@example.org", headers: { Subject: "Grüße" } });
  await server.settled();
  deepEqual(got.map(([path, right, wrong]) => [path.slice(-4), right, wrong]), [
    [".eml", true, false],
    ["json", true, false],
  ]);
  match(got[0]![0], /^\/mail\/kept\/\d{4}\/\d\d\/\d\d\//);
  match(got[0]![3], /^Received: /);
  deepEqual(JSON.parse(got[1]![3]).to, ["alice@example.org"]);
});
