/** block-me: users forward mail to an address of ours; whoever sent it is refused from then on. After Haraka's block_me. */
import PostalMime from "postal-mime";
import { accept, definePlugin, delivered, reject, z } from "postrider";

export default definePlugin({
  name: "block-me",
  options: z.object({
    address: z.email().describe("Where unwanted mail is forwarded to"),
    users: z.array(z.string()).describe("Whose word counts, once they have logged in"),
  }),
  setup(on, { address, users }, { log, store, transport }) {
    const via = transport("block-me", async (message) => {
      const { text = "", html = "" } = await PostalMime.parse(await message.bytes(16 * 1024 ** 2));
      const [, from] = /\bFrom:[^<\n]*(?:<|&lt;)([^<>&\s]+@[^<>&\s]+)(?:>|&gt;)/.exec(`${text}\n${html}`) ??
        [];
      if (!from) return reject("5.6.0", "There is no forwarded From: with an address in this message");
      await store.set(from.toLowerCase(), true, { ttl: "3650d" });
      log.info("blocked", { from });
      return delivered(`${from} is blocked`);
    }, { inline: true });
    on("resolve", (recipient) => recipient.address.toLowerCase() === address ? accept({ via }) : undefined);
    on("rcpt", async ({ user }, recipient, { sender }) => {
      if (recipient.address.toLowerCase() === address && !users.includes(user?.name ?? "")) {
        return reject("5.7.1", "You are not allowed to block mail");
      }
      if (await store.get(sender.address.toLowerCase())) return reject("5.7.1", `${sender} is blocked here`);
    });
  },
});
