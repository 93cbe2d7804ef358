import { strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { readDate } from "../../../plugins/headers/date.ts";

for (
  const [text, date] of [
    ["Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T15:55:06Z"],
    ["21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06Z"],
    ["Thu,\t13 Feb 1969 23:32 -0330 (Newfoundland Time)", "1969-02-14T03:02:00Z"],
    ["Mon, 24 Nov 2025 1:02:03 EDT", "2025-11-24T05:02:03Z"],
    ["24 Nov 25 01:02:03 +0100 (CET)", "2025-11-24T00:02:03Z"],
    ["24 Nov 2025 01:02:60 +0000", "2025-11-24T01:03:00Z"],
  ] as const
) {
  Deno.test(`headers: the date ${JSON.stringify(text)}`, () => {
    equal(readDate(text), Date.parse(date));
  });
}

for (
  const text of [
    "",
    "foo 1",
    "yesterday",
    "2025-11-24T01:02:03Z",
    "32 Nov 2025 01:02:03 +0000",
    "24 Foo 2025 01:02:03 +0000",
    "1",
  ]
) {
  Deno.test(`headers: ${JSON.stringify(text)} is no date`, () => {
    equal(readDate(text), undefined);
  });
}

Deno.test("headers: every date is read as it was written", () => {
  const some = fc.date({ noInvalidDate: true, min: new Date("1970-01-01"), max: new Date("2200-01-01") });
  fc.assert(fc.property(some, (date) => {
    equal(readDate(date.toUTCString()), Math.floor(date.getTime() / 1000) * 1000);
  }));
});
