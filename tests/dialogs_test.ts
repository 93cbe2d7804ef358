import { accept, defer, definePlugin, reject } from "../server/plugin.ts";
import { mailboxes, runDialog, type TestServerOptions } from "../server/testing/mod.ts";

const users = definePlugin({
  name: "users",
  setup(on) {
    on("auth", (_session, credentials) => {
      if (!("password" in credentials)) return;
      if (credentials.user !== "alice@example.org" || credentials.password.reveal() !== "secret") return;
      return accept({ user: "alice@example.org" });
    });
    on("mail", ({ user }, { sender }) => {
      if (!user || sender.address === "" || `${sender.user}@${sender.domain}` === user.name) return;
      return reject("5.7.1", "You may not send as this address", 553);
    });
    on("rcpt", ({ user, remote }) => {
      if (user || remote.address.startsWith("10.")) return accept();
    });
  },
});

const aliases = definePlugin({
  name: "aliases",
  setup(on) {
    on("resolve", ({ user, domain }) => {
      if (domain !== "example.org") return;
      if (user === "list") return accept({ to: ["alice@example.org", "bob@example.org"] });
      if (user === "defer") return defer("4.2.2", "Mailbox full, try later");
    });
  },
});

const server: TestServerOptions = {
  plugins: [
    users,
    aliases,
    mailboxes(["alice@example.org", "bob@example.org"]),
  ],
  trustedNetworks: ["10.0.0.0/8"],
};

const folder = new URL("./dialogs/", import.meta.url);
for (const { name } of [...Deno.readDirSync(folder)].sort((a, b) => a.name.localeCompare(b.name))) {
  if (!name.endsWith(".smtp")) continue;
  Deno.test(`dialog ${name.slice(0, -5)}`, async () => {
    await runDialog(await Deno.readTextFile(new URL(name, folder)), server);
  });
}
