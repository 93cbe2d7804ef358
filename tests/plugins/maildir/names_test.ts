import { match, strictEqual as equal } from "node:assert/strict";
import { isUnusable, machineRandom, uniqueNames } from "../../../plugins/maildir/names.ts";
import { readLayout } from "../../../plugins/maildir/layout.ts";
import { Users } from "../../../plugins/users.ts";

Deno.test("a file's name says time, process and host, and escapes what would be read as something else", () => {
  const next = uniqueNames({
    now: () => 1_700_000_000_123,
    pid: 42,
    hostname: "a/b:c,d",
    random: () => 0xab,
  });
  match(next(), /^1700000000\.M123000P42Q\d+R000000ab\.a\\057b\\072c\\054d$/);
});

Deno.test("M01 a frozen clock still gives 100,000 names in a row without a double", () => {
  const next = uniqueNames({ now: () => 1_700_000_000_000, pid: 1, hostname: "h", random: machineRandom() });
  const seen = new Set<string>();
  for (let i = 0; i < 100_000; i++) seen.add(next());
  equal(seen.size, 100_000);
});

Deno.test("M02 names that lead elsewhere, hide or do not fit are unusable; others stand as they are", () => {
  const bad = [
    "",
    ".",
    "..",
    ".hidden",
    "a/b",
    "../x",
    "/etc/passwd",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "a\u0085b",
    "x".repeat(201),
    "ü".repeat(101),
  ];
  const good = [
    "alice",
    "a..b",
    "a.",
    "{domain}",
    "$(id)",
    "a b",
    "~root",
    "x".repeat(200),
    "ü".repeat(100),
    "用户",
    "-rf",
    "a\\b",
  ];
  for (const name of bad) equal(isUnusable(name), true, JSON.stringify(name));
  for (const name of good) equal(isUnusable(name), false, JSON.stringify(name));
});

Deno.test("a path template has a root and places for user and domain, filled in one pass", () => {
  const table: [string, string, string][] = [
    ["/var/mail/{domain}/{user}", "/var/mail", "/var/mail/example.org/{domain}"],
    ["/home/{user}/Maildir/", "/home", "/home/{domain}/Maildir"],
    ["/srv/mail-{domain}/{user}.d", "/srv", "/srv/mail-example.org/{domain}.d"],
    ["/{user}", "/", "/{domain}"],
    ["/a/./b//{user}", "/a/b", "/a/b/{domain}"],
  ];
  for (const [template, root, path] of table) {
    const layout = readLayout(template);
    if (typeof layout === "string") throw new Error(layout);
    equal(layout.root, root);
    equal(layout.of("{domain}", "example.org"), path);
  }
});

Deno.test("a path template that can't work is explained", () => {
  const table: [string, RegExp][] = [
    ["/var/mail/{domain}", /\{user\} must stand/],
    ["mail/{user}", /absolute/],
    ["/var/{user}/../x/{user}", /`\.\.`/],
    ["/var/{usr}/{user}", /"\{usr\}" is no placeholder/],
    ["/var/{user/{user}", /no placeholder/],
    ["/var/user}/{user}", /"\}" is no placeholder/],
  ];
  for (const [template, sentence] of table) match(String(readLayout(template)), sentence, template);
});

Deno.test("A02 what stands in a quoted local part is no address of another domain", () => {
  const users = new Users();
  for (const text of ["alice@example.org", "Bob", '"odd name"@example.org', "carol@STRASSE.example"]) {
    users.add(text);
  }
  const table: [string, string, boolean][] = [
    ["alice", "example.org", true],
    ["alice", "example.net", false],
    ["bob", "example.net", true],
    ["odd name", "example.org", true],
    ["carol", "strasse.example", true],
    ["alice@example.org", "example.net", false],
    ["__proto__", "example.org", false],
  ];
  for (const [user, domain, known] of table) equal(users.has(user, domain), known, `${user} ${domain}`);
});
