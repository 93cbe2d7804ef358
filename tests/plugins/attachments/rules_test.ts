import { deepStrictEqual as deepEqual, ok } from "node:assert/strict";
import fc from "fast-check";
import type { Found } from "../../../plugins/attachments/findings.ts";
import { problemsOf } from "../../../plugins/attachments/rules.ts";

const wanted = {
  extensions: new Set(["exe"]),
  types: ["video/*", "text/calendar"],
  most: undefined,
  largest: undefined,
};
const part: Found = { inside: [], names: ["a.txt"], type: "text/plain", size: 10, kind: "part" };
const texts = (
  found: Partial<Found>[],
  more: Partial<typeof wanted> | { most: number; largest: number } = {},
) =>
  problemsOf({ found: found.map((one) => ({ ...part, ...one })), closed: [] }, { ...wanted, ...more })
    .map(({ rule, text }) => `${rule}: ${text}`);

Deno.test("attachments: extensions and types that aren't taken, by name and by content, once for each", () => {
  deepEqual(
    texts([
      {},
      { names: ["a.txt", "b.exe"] },
      { names: ["b.jpg"], magic: { extension: "exe", type: "application/x-msdownload" } },
      { names: [], type: "video/mp4" },
      { names: ["x.dat"], type: "application/octet-stream", magic: { extension: "mp4", type: "video/mp4" } },
      { names: ["c.exe"], inside: ["fwd.eml", "a.zip"], type: undefined, kind: "entry" },
    ]),
    [
      'refused: "a.txt" is of a kind that isn\'t taken: exe',
      'refused: "b.jpg" is of a kind that isn\'t taken: exe',
      'mismatch: "b.jpg" isn\'t what it is called: it is said to be jpg and is exe',
      'refused: "video/mp4" is of a type that isn\'t taken: video/mp4',
      'refused: "x.dat" is of a type that isn\'t taken: video/mp4',
      'refused: "c.exe" in "a.zip" in "fwd.eml" is of a kind that isn\'t taken: exe',
    ],
  );
});

Deno.test("attachments: bounds count what hangs on the message itself", () => {
  const entry = { inside: ["a.zip"], kind: "entry" } as const;
  deepEqual(texts([{}, {}, entry, { kind: "text" }], { most: 2, largest: 10 }), []);
  deepEqual(texts([{}, {}, { size: 11 }], { most: 2, largest: 10 }), [
    "bounds: It has 3 attachments, and 2 are taken",
    'bounds: "a.txt" has 11 octets, and 10 are taken',
  ]);
});

Deno.test("attachments: whatever a name holds, what is said of it is one short line of ASCII", () => {
  const name = fc.string({ unit: "binary", maxLength: 500 });
  fc.assert(fc.property(name, name, (one, other) => {
    const found = { ...part, names: [`${one}.exe`], inside: [other, one, other] };
    const closed = [{ inside: [other], name: one, why: "damaged" as const }];
    for (const { text } of problemsOf({ found: [found], closed }, wanted)) {
      ok(/^[ -~]+$/.test(text) && text.length < 450, text);
    }
  }));
});
