import { accept, defer, definePlugin, delivered, type Message, type Target, z } from "postrider";

export default definePlugin({
  name: "maildir",
  options: z.object({
    domains: z.array(z.string()).min(1),
    path: z.string(),
    lineEndings: z.enum(["crlf", "lf"]).default("crlf"),
  }),
  setup(on, options, host) {
    const via = host.transport(
      "maildir",
      (message, recipients) => Promise.all(recipients.map((r) => write(message, r))),
      { inline: true, batch: 50 },
    );

    on("resolve", (recipient) => options.domains.includes(recipient.domain) ? accept({ via }) : undefined);

    async function write(message: Message, { local, domain }: Target) {
      const dir = options.path.replace("{domain}", domain).replace("{user}", encodeURIComponent(local));
      try {
        await using file = await create(`${dir}/tmp/${message.id}`);
        for await (const line of message.lines()) await file.write(line);
        await file.publish(`${dir}/new/${message.id}`);
        return delivered(dir);
      } catch (error) {
        host.log.warning("cannot write", { dir, error: String(error) });
        return defer("4.2.0", "Mailbox cannot be written");
      }
    }
  },
});

declare function create(
  path: string,
): Promise<AsyncDisposable & { write(line: Uint8Array): Promise<void>; publish(to: string): Promise<void> }>;
