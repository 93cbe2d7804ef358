import { defer, definePlugin, duration, reject, z } from "postrider";

const Answer = z.object({ action: z.enum(["accept", "reject", "defer"]), text: z.string().optional() });

export default definePlugin({
  name: "webhook",
  options: z.object({ url: z.url(), timeout: duration("10s") }),
  setup(on, { url, timeout }, { log }) {
    on("data", async (session, message, transaction, { signal }) => {
      const response = await fetch(url, {
        method: "POST",
        headers: {
          "content-type": "message/rfc822",
          "x-sender": transaction.sender.address,
          "x-client": session.remote.address,
        },
        body: message.stream(),
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeout)]),
      });
      if (!response.ok) return defer("4.3.2", "Try again later");
      const { action, text } = Answer.parse(await response.json()); // a bad answer throws: 451
      log.info("webhook said", { action });
      if (action === "reject") return reject("5.7.1", text ?? "Refused");
      if (action === "defer") return defer("4.7.1", text ?? "Later");
    });
  },
});
