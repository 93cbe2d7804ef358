/** The house's arrows (server/README.md): who may import whom, read from the import graph itself. */
import { deepStrictEqual as deepEqual, ok } from "node:assert/strict";

interface Module {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly code?: { readonly specifier?: string };
    readonly type?: { readonly specifier?: string };
  }[];
}

const root = new URL("../", import.meta.url).href;

/** What runs of the project, as `from → to` by file. Types are only told, code is also run: `import type` is no arrow. */
async function arrows(): Promise<[string, string][]> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "mod.ts"],
    cwd: new URL(root),
  }).output();
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as { modules: Module[] };
  const found: [string, string][] = [];
  for (const { specifier, dependencies = [] } of modules) {
    for (const { code } of dependencies) {
      if (code?.specifier) found.push([specifier, code.specifier]);
    }
  }
  const inside = found.filter(([from]) => from.startsWith(root));
  return inside.map((
    [from, to],
  ) => [from.slice(root.length), to.startsWith(root) ? to.slice(root.length) : to]);
}

/** Where files of a room may point, packages and the runtime aside. */
const rules: readonly { readonly room: string; readonly to: RegExp; readonly because: string }[] = [
  { room: "server/smtp/", to: /^server\/smtp\//, because: "the protocol is pure" },
  { room: "server/message/", to: /^server\/(message|smtp)\//, because: "a message knows no server" },
  { room: "server/plugin.ts", to: /^server\/(options|verdict)\.ts$/, because: "the API stands alone" },
  { room: "server/channel/", to: /^server\/channel\//, because: "bytes have no meaning there" },
  {
    room: "server/config/",
    to: /^server\/(config\/|smtp\/|options\.ts$|delivery\/schedule\.ts$)/,
    because: "a configuration is only text",
  },
  {
    room: "server/spool/",
    to: /^server\/(spool|message|smtp)\/|^server\/clock\.ts$/,
    because: "the queue delivers nothing",
  },
  {
    room: "server/delivery/",
    to: /^server\/(delivery|spool|message|smtp|channel)\/|^server\/(options|resolve|ruling|verdict)\.ts$/,
    because: "who sends a message on doesn't ask who took it in",
  },
  {
    room: "server/tracking/",
    to: /^server\/(tracking|spool)\/|^server\/(clock|descriptors)\.ts$/,
    because: "it reads the queue's log, and nobody waits for it",
  },
  {
    room: "plugins/",
    to: /^(server\/(plugin|facts)\.ts$|plugins\/)/,
    because: "a bundled plugin has the public API only",
  },
  { room: "server/chain.ts", to: /^server\/ruling\.ts$/, because: "asking is all it does" },
];

const arrowsOnce = arrows();

for (const { room, to, because } of rules) {
  Deno.test(`house: ${room} points only where it may: ${because}`, async () => {
    const out = (await arrowsOnce).filter(([from]) => from.startsWith(room));
    ok(out.length > 0 || room.endsWith("/"), `${room} is not in the graph`);
    deepEqual(out.filter(([, target]) => /^(server|plugins)\//.test(target) && !to.test(target)), []);
  });
}

Deno.test("house: the protocol imports nothing from outside, no package and no runtime module", async () => {
  const out = (await arrowsOnce).filter(([from, to]) =>
    from.startsWith("server/smtp/") && !to.startsWith("server/smtp/")
  );
  deepEqual(out, []);
});

const shared =
  /^plugins\/(?:addresses\.ts|users\.ts|yaml_file\.ts|next_hop\.ts|followed_file\.ts|back_end\.ts|confirmed_name\.ts|directory\/.*|final_copy\.ts|worker_room\.ts|authentication\/.*)$/;

const sharedByGateways = /^plugins\/(?:slots\.ts|gateway\/.*|maildir\/(?:delivery|disk|mailbox|names)\.ts)$/;

Deno.test("house: a bundled plugin imports no other plugin, what they share aside", async () => {
  const folder = (file: string) => file.split("/").slice(0, 2).join("/");
  const out = (await arrowsOnce).filter(([from, to]) =>
    from.startsWith("plugins/") && to.startsWith("plugins/") && folder(from) !== folder(to) &&
    !shared.test(to) && !shared.test(from) && !sharedByGateways.test(to)
  );
  deepEqual(out, []);
});

Deno.test("house: comparisons in tests are strict: the named equal and deepEqual of node:assert/strict are not", async () => {
  const loose: string[] = [];
  async function look(folder: URL): Promise<void> {
    for await (const entry of Deno.readDir(folder)) {
      const url = new URL(entry.isDirectory ? `${entry.name}/` : entry.name, folder);
      if (entry.isDirectory && !/^(node_modules|dist|\.git)$/.test(entry.name)) await look(url);
      if (!entry.isFile || !entry.name.endsWith(".ts")) continue;
      const text = await Deno.readTextFile(url);
      for (const [, names] of text.matchAll(/import \{([^}]*)\} from "node:assert\/strict"/g)) {
        if (names!.split(",").some((name) => /^\s*(not)?(equal|deepEqual)\s*$/i.test(name))) {
          loose.push(url.href.slice(root.length));
        }
      }
    }
  }
  for (const folder of ["server/", "plugins/", "tests/", "examples/"]) await look(new URL(folder, root));
  deepEqual(loose, []);
});
