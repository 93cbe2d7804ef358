import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { inspect } from "../../../plugins/attachments/inspect.ts";
import { mail, packed, program } from "./made.ts";

const limits = { depth: 3, entries: 100, unpackings: 100, unpacked: 1024 * 1024 };
const octets = (...lines: string[]) => new TextEncoder().encode(lines.map((line) => `${line}\r\n`).join(""));

/** What was found, as paths. */
async function paths(message: Uint8Array<ArrayBuffer>, how = limits): Promise<string[]> {
  const { found, closed } = await inspect(message, how);
  return [
    ...found.filter(({ kind }) => kind !== "text").map(({ inside, names }) =>
      [...inside, names.join(" or ")].join(" > ")
    ),
    ...closed.map(({ inside, name, why }) => [...inside, name, why].join(" > ")),
  ];
}

Deno.test("attachments: names as clients write them: RFC 2231, RFC 2047, both that differ, of a text", async () => {
  deepEqual(
    await paths(octets(
      "Content-Type: multipart/mixed; boundary=b",
      "",
      "--b",
      "Content-Disposition: attachment; filename*=UTF-8''r%C3%A9sum%C3%A9.exe",
      "",
      "x",
      "--b ",
      'Content-Disposition: attachment; filename="=?utf-8?B?csOpLnNjcg==?="',
      "",
      "x",
      "--b",
      "Content-Type: application/octet-stream; name=b.bat",
      "Content-Disposition: attachment; filename=a.txt",
      "",
      "x",
      "--b",
      "Content-Type: text/html; name=page.hta",
      "",
      "<p>x",
      "--b",
      "Content-Disposition: attachment;",
      ' filename*0="long";',
      ' filename*1=".js"',
      "",
      "x",
      "--b--",
    )),
    ["résumé.exe", "ré.scr", "a.txt or b.bat", "page.hta", "long.js"],
  );
});

Deno.test("attachments: what is uuencoded amid a text", async () => {
  deepEqual(await paths(octets("Subject: x", "", "See:", "begin 644 evil.exe", "#0V%T", "`", "end")), [
    "evil.exe",
  ]);
});

Deno.test("attachments: through messages and archives inside of each other, as deep as is allowed", async () => {
  const zip = await packed({ "evil.exe": "x" }, "-tzip");
  const tarball = await packed({ "in.tar": await packed({ "in.zip": zip }, "-ttar") }, "-tgzip");
  const inner = await mail({ filename: "a.zip", content: zip });
  const outer = await mail({ filename: "fwd.eml", content: inner, contentType: "message/rfc822" });
  deepEqual(await paths(outer), ["fwd.eml", "fwd.eml > a.zip", "fwd.eml > a.zip > evil.exe"]);
  deepEqual(await paths(outer, { ...limits, depth: 1 }), [
    "fwd.eml",
    "fwd.eml > a.zip",
    "fwd.eml > a.zip > too deep",
  ]);
  deepEqual(
    (await paths(await mail({ filename: "x.tgz", content: tarball }))).at(-1),
    "x.tgz > in.tar > in.zip > evil.exe",
  );
  deepEqual(
    (await paths(await mail({ filename: "x.tgz", content: tarball }), { ...limits, depth: 2 })).at(-1),
    "x.tgz > in.tar > in.zip > too deep",
  );
});

Deno.test("attachments: an archive without an archive's name is one all the same, and a program is known by its octets", async () => {
  const zip = await packed({ "evil.exe": "x" }, "-tzip");
  deepEqual(await paths(await mail({ filename: "data.bin", content: zip })), [
    "data.bin",
    "data.bin > evil.exe",
  ]);
  const { found } = await inspect(await mail({ filename: "photo.jpg", content: program }), limits);
  equal(found.at(-1)!.magic?.extension, "exe");
  const gz = await packed({ "photo.jpg": program }, "-tgzip");
  const inside = await inspect(await mail({ filename: "photo.jpg.gz", content: gz }), limits);
  equal(inside.found.at(-1)!.magic?.extension, "exe");
});

Deno.test("attachments: too much of anything ends the look", async () => {
  const many = await packed(
    Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`${n}.txt`, "x"])),
    "-tzip",
  );
  const message = await mail({ filename: "many.zip", content: many });
  const { found, closed } = await inspect(message, limits);
  equal(found.length, 100);
  equal(closed.at(-1)?.why, "too much");
  const bomb = await packed({ "big.zip": new Uint8Array(5_000_000) }, "-tzip");
  deepEqual((await inspect(await mail({ filename: "bomb.zip", content: bomb }), limits)).closed, [
    { inside: ["bomb.zip"], name: "big.zip", why: "too much" },
  ]);
});

Deno.test("attachments: a message nested without end is closed, not followed", async () => {
  const lines = Array.from(
    { length: 300 },
    (_, n) => [`Content-Type: multipart/mixed; boundary=b${n}`, "", `--b${n}`],
  );
  deepEqual(await paths(octets(...lines.flat())), ["message > damaged"]);
});

Deno.test("attachments: of archives inside of one only so many are unpacked, whatever their size", async () => {
  const inner = await packed({ "a.txt": "x", "b.txt": "y" }, "-tzip");
  const names = ["1.zip", "2.zip", "3.zip", "4.zip"];
  const archive = await packed(Object.fromEntries(names.map((name) => [name, inner])), "-tzip");
  const message = await mail({ filename: "all.zip", content: archive });
  const { found, closed } = await inspect(message, { ...limits, unpackings: 3 });
  deepEqual(closed, [{ inside: ["all.zip"], name: "4.zip", why: "too much" }]);
  deepEqual(found.filter(({ kind, inside }) => kind === "entry" && inside.length === 1).length, 4);
});

const ambiguous: readonly (readonly [string, readonly string[]])[] = [
  ["a parameter twice", ['Content-Disposition: attachment; filename="a.txt"; filename="b.js"']],
  ["both forms, the plain one last", [
    "Content-Disposition: attachment; filename*=UTF-8''a.txt; filename=b.js",
  ]],
  ["both forms, the other one last", [
    "Content-Disposition: attachment; filename=a.txt; filename*=UTF-8''b%2Ejs",
  ]],
  ["a field twice", [
    "Content-Disposition: attachment; filename=a.txt",
    "Content-Disposition: attachment; filename=b.js",
  ]],
  ["two types", ["Content-Type: text/plain", "Content-Type: application/octet-stream; name=b.js"]],
  ["no semicolon", ["Content-Disposition: attachment filename=b.js"]],
  ["a quote that doesn't end", ['Content-Disposition: attachment; filename="b.js']],
];

for (const [what, fields] of ambiguous) {
  Deno.test(`attachments: names that clients read differently are all names: ${what}`, async () => {
    const { found } = await inspect(
      octets("Content-Type: multipart/mixed; boundary=b", "", "--b", ...fields, "", "x", "--b--"),
      limits,
    );
    ok(found.some(({ names }) => names.includes("b.js")), JSON.stringify(found));
  });
}

Deno.test("attachments: a field of nothing but begun names takes linear time", async () => {
  const long = `Content-Disposition: attachment; ${'name="'.repeat(40_000)}`;
  const began = performance.now();
  await inspect(
    octets("Content-Type: multipart/mixed; boundary=b", "", "--b", long, "", "x", "--b--"),
    limits,
  );
  ok(performance.now() - began < 5_000);
});
