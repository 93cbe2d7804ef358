import { accept, definePlugin, path, reject, transport, z } from "postrider";

/** Stands in for node:sqlite in a Worker. */
declare function openDatabase(
  file: string,
): { row(sql: string, ...values: string[]): Promise<{ active: number } | undefined>; close(): void };

export default definePlugin({
  name: "recipients-sql",
  options: z.object({
    database: path(),
    domains: z.array(z.string()).min(1),
    via: transport("maildir"),
    query: z.string().default("select active from users where address = ?"),
  }),
  setup(on, { database, domains, via, query }) {
    const db = openDatabase(database);
    on("resolve", async ({ local, domain }) => {
      if (!domains.includes(domain)) return;
      const user = await db.row(query, `${local}@${domain}`);
      if (!user) return reject("5.1.1", "No such user here");
      if (!user.active) return reject("5.2.1", "Mailbox disabled");
      return accept({ via });
    });
    return () => db.close();
  },
});
