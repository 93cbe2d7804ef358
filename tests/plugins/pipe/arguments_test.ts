import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { expand, readTemplate, type Template, valuesOf } from "../../../plugins/pipe/arguments.ts";
import { target } from "../harness.ts";

const template = (text: string): Template => {
  const read = readTemplate(text);
  if (typeof read === "string") throw new Error(read);
  return read;
};
const expanded = (text: string, to: string, sender = "bob@example.net", original = to) =>
  expand(template(text), valuesOf(target(to, sender, original), "MAILER-DAEMON"));
const text = (text: string) => ({ kind: "text", text });
const unfit = (placeholder: string) => ({ kind: "unfit", placeholder });

Deno.test("pipe arguments: placeholders are replaced, an argument stays one", () => {
  deepEqual(expanded("{user}", "Alice+lists@Example.ORG"), text("alice"));
  deepEqual(expanded("{tag}", "alice+lists@example.org"), text("lists"));
  deepEqual(expanded("{tag}", "alice@example.org"), text(""));
  deepEqual(
    expanded("--to={recipient} {domain}", "alice@example.org"),
    text("--to=alice@example.org example.org"),
  );
  deepEqual(
    expanded("{original}", "bob@example.org", "x@example.net", "sales@example.org"),
    text("sales@example.org"),
  );
  deepEqual(expanded("{recipient}", '"a b; $(id) `id`"@example.org'), text('"a b; $(id) `id`"@example.org'));
  deepEqual(expanded("-f{sender}", "alice@example.org", ""), text("-fMAILER-DAEMON"));
  deepEqual(expanded("{{print {user}}", "alice@example.org"), text("{print alice}"));
  deepEqual(expanded("$HOME/*", "alice@example.org"), text("$HOME/*"));
  deepEqual(expanded("", "alice@example.org"), text(""));
});

Deno.test("pipe arguments: a value never becomes an option", () => {
  deepEqual(expanded("{user}", "-d@example.org"), unfit("user"));
  deepEqual(expanded("{recipient}", "-oQ/tmp@example.org"), unfit("recipient"));
  deepEqual(expanded("{sender}", "alice@example.org", "-bs@example.net"), unfit("sender"));
  deepEqual(expanded("{tag}{user}", "-x@example.org"), unfit("user"), "behind one that is empty");
  deepEqual(
    expanded("--from={sender}", "alice@example.org", "-bs@example.net"),
    text("--from=-bs@example.net"),
  );
  deepEqual(expanded("-f{sender}", "alice@example.org", "-bs@example.net"), text("-f-bs@example.net"));
});

Deno.test("pipe arguments: an option whose value is empty would take the next argument", () => {
  match(readTemplate("-a{tag}") as string, /write two arguments, "-a" and "\{tag\}"/);
  deepEqual(expanded("-d{user}", '""@example.org'), unfit("user"));
  deepEqual(expanded("--tag={tag}", "alice@example.org"), text("--tag="));
});

Deno.test("pipe arguments: a value never leads to another folder", () => {
  deepEqual(expanded("{user}", '"../../etc/passwd"@example.org'), unfit("user"));
  deepEqual(expanded("{tag}", "alice+../bob@example.org"), unfit("tag"));
  deepEqual(expanded("{user}", '".profile"@example.org'), unfit("user"));
  deepEqual(expanded("/var/in/{recipient}", "a/b@example.org"), unfit("recipient"));
  deepEqual(expanded("/var/in/{sender}", "alice@example.org", '"../x"@example.net'), unfit("sender"));
  deepEqual(expanded("{recipient}", "a/b@example.org"), text("a/b@example.org"));
});

Deno.test("pipe arguments: a mistaken placeholder is told", () => {
  match(readTemplate("{extension}") as string, /\{extension\} is no placeholder: there are \{recipient\}/);
  match(readTemplate("{}") as string, /\{\} is no placeholder/);
  match(readTemplate("a\0b") as string, /NUL/);
});

Deno.test("pipe arguments: no address whatever makes an option of an argument that isn't one", () => {
  const parts = fc.constantFrom("{user}", "{tag}", "{recipient}", "{sender}", "{domain}", "x", "=", "/", " ");
  const local = fc.stringMatching(/^[-+a-z./"']{1,8}$/);
  fc.assert(
    fc.property(fc.array(parts, { minLength: 1, maxLength: 4 }), local, local, (parts, user, from) => {
      const read = readTemplate(parts.join(""));
      if (typeof read === "string") return;
      const said = expand(read, valuesOf(target(`${user}@example.org`, `${from}@example.net`), "x"));
      if (said.kind === "unfit") return;
      ok(!said.text.startsWith("-"), said.text);
      ok(!(said.text.includes("/../") && parts.includes("/")), said.text);
    }),
  );
});

Deno.test("pipe arguments: reading what has no placeholder changes nothing", () => {
  fc.assert(fc.property(fc.string().filter((text) => !/[{\0]/.test(text)), (text) => {
    const said = expand(template(text), valuesOf(target("a@b.example"), "x"));
    equal(said.kind === "text" && said.text, text);
  }));
});
