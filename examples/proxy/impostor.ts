/** Refuses mail in which a stranger bears the name of one of our people: "Alice Anders" <alice@somewhere.example>. */
import { definePlugin, reject, z } from "postrider";

export default definePlugin({
  name: "impostor",
  options: z.object({
    domains: z.array(z.string()).min(1).describe("Ours: mail from these is not looked at"),
    names: z.array(z.string().min(3)).min(1).describe("Whose names nobody else may bear"),
  }),
  setup(on, { domains, names }) {
    const ours = names.map((name) => name.toLowerCase());
    on("data", (session, message) => {
      if (session.user) return;
      const from = message.headers.get("From")?.toLowerCase() ?? "";
      const isOurs = domains.some((domain) => from.includes(`@${domain}>`));
      if (!isOurs && ours.some((name) => from.includes(name))) {
        return reject("5.7.1", "This is somebody else's name here; please write without it");
      }
    });
  },
});
