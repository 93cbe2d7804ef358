import { match, strictEqual as equal } from "node:assert/strict";
import { disguise, extensionOf, mismatch, startable } from "../../../plugins/attachments/kinds.ts";

for (
  const [name, extension] of [
    ["a.EXE", "exe"],
    ["a.exe. . .", "exe"],
    ["C:\\Temp\\a.Scr", "scr"],
    ["../../a.js", "js"],
    ["a", ""],
    [".htaccess", "htaccess"],
    ["a.exe\u200b", "exe"],
    ["a.ｅｘｅ", "exe"],
    ["a.tar.gz", "gz"],
    ["folder.exe/a", ""],
    ["a.b\0.exe", "exe"],
    ["", ""],
  ] as const
) {
  Deno.test(`attachments: the extension of ${JSON.stringify(name)} is ${JSON.stringify(extension)}`, () => {
    equal(extensionOf(name), extension);
  });
}

const refused = new Set(startable);

for (
  const [name, how] of [
    ["invoice.pdf.html", /two extensions, pdf and html/],
    ["photo.jpg.exe", /two extensions/],
    ["report.doc      .scr", /two extensions/],
    ["annual report          .zip", /blanks/],
    ["\u202ecod.exe", /direction/],
  ] as const
) {
  Deno.test(`attachments: ${JSON.stringify(name)} is disguised`, () => {
    match(disguise(name, refused) ?? "", how);
  });
}

for (
  const name of [
    "invoice.pdf",
    "a.tar.gz",
    "v1.2.3.zip",
    "Mr. Smith.docx",
    "page.html",
    "a.pdf.zip",
    "x.min.css",
    "",
  ]
) {
  Deno.test(`attachments: ${JSON.stringify(name)} is no disguise`, () => {
    equal(disguise(name, refused), undefined);
  });
}

for (
  const [claimed, type, magic, isLie] of [
    ["pdf", "application/pdf", "zip", true],
    ["jpg", "image/jpeg", "exe", true],
    ["", "image/png", "rar", true],
    ["docx", undefined, "exe", true],
    ["txt", "text/plain", "zip", true],
    ["docx", undefined, "zip", false],
    ["jpg", "image/jpeg", "png", false],
    ["doc", "application/msword", "cfb", false],
    ["zip", "application/zip", "zip", false],
    ["dat", "application/octet-stream", "zip", false],
  ] as const
) {
  Deno.test(`attachments: ${claimed || type} that begins as ${magic} is ${isLie ? "a" : "no"} mismatch`, () => {
    equal(mismatch(claimed, type, magic) !== undefined, isLie);
  });
}

Deno.test("attachments: names of any length take no time", () => {
  const began = performance.now();
  for (const unit of [".", " ", "a. ", "\u202e", ".pdf "]) {
    const name = unit.repeat(200_000);
    extensionOf(name);
    disguise(name, refused);
  }
  equal(performance.now() - began < 2000, true);
});
