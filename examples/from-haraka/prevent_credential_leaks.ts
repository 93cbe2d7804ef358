/** prevent-credential-leaks: keeps users from mailing their own password to whoever asks for it. Stands above `auth`. After Haraka's. */
import PostalMime from "postal-mime";
import { definePlugin, reject, type Secret, type Session, size, z } from "postrider";

export default definePlugin({
  name: "prevent-credential-leaks",
  options: z.object({ largest: size("1MiB").describe("Messages over this are not read") }),
  setup(on, { largest }, { notes }) {
    const login = notes((_session: Session): { password?: Secret } => ({}));
    on("auth", (session, credentials) => {
      if ("password" in credentials) login(session).password = credentials.password;
    });
    on("data", async (session, message) => {
      const password = login(session).password?.reveal();
      if (!session.user || !password || message.size > largest) return;
      const { subject = "", text = "", html = "" } = await PostalMime.parse(await message.bytes(largest));
      const said = [subject, text, html].join("\n");
      const name = session.user.name.split("@")[0]!.toLowerCase();
      if (said.includes(password) && said.toLowerCase().includes(name)) {
        return reject("5.7.1", "Never send your password to anyone");
      }
    });
  },
});
