import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { hashing, Passwords } from "../../plugins/auth/hash.ts";
import { readUsers } from "../../plugins/auth/users.ts";
import { type UserAction, userCommand, type UserOptions } from "../../server/cli/user.ts";

/** Standard input as a test types it; `terminal`: what raw mode it was in while each octet was read. */
class Input {
  readonly raw: boolean[] = [];
  #raw = false;
  #at = 0;
  readonly #octets: Uint8Array;
  readonly #terminal: boolean;

  constructor(typed: string | Uint8Array, terminal: boolean) {
    this.#octets = typeof typed === "string" ? new TextEncoder().encode(typed) : typed;
    this.#terminal = terminal;
  }

  get left(): string {
    return new TextDecoder().decode(this.#octets.subarray(this.#at));
  }

  get isRaw(): boolean {
    return this.#raw;
  }

  isTerminal(): boolean {
    return this.#terminal;
  }

  setRaw(on: boolean): void {
    ok(this.#terminal);
    this.#raw = on;
  }

  read(into: Uint8Array): Promise<number | null> {
    this.raw.push(this.#raw);
    const octet = this.#octets[this.#at++];
    if (octet === undefined) return Promise.resolve(null);
    into[0] = octet;
    return Promise.resolve(1);
  }
}

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly stdin: Input;
}

/** A directory with a configuration, in which commands are run. */
async function withConfig(
  plugins: string,
  test: (
    run: (
      action: UserAction,
      options: Partial<UserOptions>,
      typed?: string | Uint8Array,
      tty?: boolean,
    ) => Promise<Run>,
    directory: string,
  ) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "postrider-user-" });
  const config = `${directory}/postrider.yaml`;
  await Deno.writeTextFile(config, `plugins:\n${plugins}`);
  try {
    await test(async (action, options, typed = "", tty = false) => {
      let [out, err] = ["", ""];
      const stdin = new Input(typed, tty);
      const io = {
        readTextFile: (path: string) => Deno.readTextFile(path),
        env: () => undefined,
        stdin,
        stdout: { write: (text: string) => void (out += text) },
        stderr: { write: (text: string) => void (err += text) },
      };
      const code = await userCommand(action, { config, ...options }, io);
      return { code, out, err, stdin };
    }, directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const simple = "  - use: auth\n    with: { users: people.yaml }\n";
const address = "alice@example.org";
const pipe = { address, passwordStdin: true };

async function passwordIs(file: string, name: string, password: string): Promise<boolean> {
  const account = readUsers(await Deno.readTextFile(file)).accounts.get(name);
  if (!account) return false;
  const passwords = new Passwords(hashing().derive);
  return await passwords.check(account.hash, password, "", new AbortController().signal) === "match";
}

Deno.test("user: add, list, passwd, remove; the password is the first line of a pipe and never shown", () =>
  withConfig(simple, async (run, directory) => {
    const file = `${directory}/people.yaml`;
    const added = await run("add", { address: "Alice@Example.org", passwordStdin: true }, "grün7 x\r\nrest");
    deepEqual([added.code, added.out, added.err], [0, `alice@example.org was added to ${file}.\n`, ""]);
    ok(await passwordIs(file, address, "grün7 x"));
    equal((await Deno.stat(file)).mode! & 0o777, 0o600);
    await run("add", { address: "bob@example.org", passwordStdin: true }, "b");
    equal((await run("list", {})).out, "alice@example.org\nbob@example.org\n");
    const changed = await run("passwd", pipe, "other\n");
    deepEqual([changed.code, changed.err], [0, ""]);
    ok(await passwordIs(file, address, "other"));
    equal((await run("remove", { address })).code, 0);
    equal((await run("list", {})).out, "bob@example.org\n");
    ok(!(added.out + added.err + changed.out + changed.err).match(/grün|other/));
  }));

Deno.test("user: on a terminal it asks twice, without echo, and edits as terminals do", () =>
  withConfig(simple, async (run, directory) => {
    const { code, out, err, stdin } = await run(
      "add",
      { address },
      "wrong\x15grx\x7fü\x7fünn\x08\rgrün\n",
      true,
    );
    deepEqual([code, err], [0, "Password: \nAgain: \n"]);
    ok(out.includes("was added"));
    ok(stdin.raw.every(Boolean) && !stdin.isRaw);
    ok(await passwordIs(`${directory}/people.yaml`, address, "grün"));
  }));

const refused: [what: string, typed: string | Uint8Array, tty: boolean, err: RegExp][] = [
  ["two that differ", "one\rtwo\r", true, /The two passwords differ/],
  ["Ctrl-C", "secr\x03", true, /Cancelled/],
  ["Ctrl-C at the second", "secr\rse\x03", true, /Cancelled/],
  ["nothing typed", "\r", true, /empty password/],
  ["an empty pipe", "", false, /empty password/],
  ["an empty line", "\nsecret\n", false, /empty password/],
  ["NUL", "sec\0ret\n", false, /control characters/],
  ["no UTF-8", new Uint8Array([0x73, 0xff, 0x0a]), false, /not valid UTF-8/],
  ["endless", "x".repeat(10_000), false, /at most 512 octets/],
  ["endless on a terminal", "x".repeat(10_000), true, /at most 512 octets/],
];

Deno.test("user: passwords that are refused change nothing, and leave the terminal as it was", () =>
  withConfig(simple, async (run, directory) => {
    for (const [what, typed, tty, expected] of refused) {
      const { code, out, err, stdin } = await run("add", { address, passwordStdin: !tty }, typed, tty);
      deepEqual([code, out, stdin.isRaw], [1, "", false], what);
      match(err, expected, what);
      ok(!err.includes("secr"), what);
    }
    deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["postrider.yaml"]);
  }));

Deno.test("user: what can't be done is exit code 1, and no password is asked for it", () =>
  withConfig(simple, async (run, directory) => {
    await run("add", pipe, "x");
    const again = await run("add", pipe, "y");
    deepEqual([again.code, again.stdin.left], [1, "y"]);
    match(again.err, /is in .*people\.yaml already/);
    const other = { address: "bob@example.org" };
    for (const action of ["passwd", "remove"] as const) {
      const { code, err, stdin } = await run(action, { ...other, passwordStdin: true }, "y");
      deepEqual([code, stdin.left], [1, "y"]);
      match(err, /bob@example\.org is not in/);
    }
    await Deno.writeTextFile(`${directory}/people.yaml`, "x: 1\n");
    for (const action of ["list", "remove"] as const) {
      const { code, err } = await run(action, action === "list" ? {} : other);
      equal(code, 1);
      match(err, /people\.yaml:1:1: /);
    }
    await Deno.remove(`${directory}/people.yaml`);
    equal((await run("list", {})).code, 0);
  }));

Deno.test("user: wrong usage is exit code 2", () =>
  withConfig(simple, async (run) => {
    const cases: [UserAction, Partial<UserOptions>, RegExp][] = [
      ["list", { address }, /takes no address/],
      ["add", {}, /needs an address/],
      ["add", { address: "alice" }, /is an address/],
      ["remove", { address: "a b@example.org" }, /is an address/],
      ["add", { address }, /--password-stdin/],
      ["list", { as: "other" }, /no plugin `auth` with the name other\. It has auth\./],
      ["list", { config: "/nowhere/postrider.yaml" }, /^\/nowhere\/postrider\.yaml:1:1: /],
    ];
    for (const [action, options, expected] of cases) {
      const { code, out, err } = await run(action, options);
      deepEqual([code, out], [2, ""], err);
      match(err, expected);
    }
  }));

Deno.test("user: the plugin's short form means users.yaml beside the configuration", () =>
  withConfig("  - auth\n", async (run, directory) => {
    equal((await run("add", pipe, "x")).code, 0);
    ok(await passwordIs(`${directory}/users.yaml`, address, "x"));
  }));

Deno.test("user: of several auth plugins one must be named", () =>
  withConfig(
    "  - auth\n  - { use: auth, as: staff, with: { users: staff.yaml } }\n",
    async (run, directory) => {
      const { code, err } = await run("add", pipe, "x");
      equal(code, 2);
      match(err, /--as: auth, staff/);
      equal((await run("add", { ...pipe, as: "staff" }, "x")).code, 0);
      ok(await passwordIs(`${directory}/staff.yaml`, address, "x"));
    },
  ));

Deno.test("user: problems of the configuration have their place", async () => {
  const cases: [plugins: string, err: RegExp][] = [
    ["  - relay\n", /no plugin `auth`\. Add it/],
    ["  - use: auth\n    with: { user: x.yaml }\n", /postrider\.yaml:3:13: .*users/],
    ["  - use: auth\n    with: { users: 7 }\n", /postrider\.yaml:3:20: /],
    ["  - ause: auth\n", /postrider\.yaml:2:/],
    ["  - [\n", /postrider\.yaml:/],
  ];
  for (const [plugins, expected] of cases) {
    await withConfig(plugins, async (run) => {
      const { code, err } = await run("list", {});
      equal(code, 2, plugins);
      match(err, expected, plugins);
    });
  }
});
