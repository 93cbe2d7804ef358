/** Marks mail from outside: `Subject: [external] …`, so that nobody takes a stranger for a colleague. */
import { definePlugin, z } from "postrider";

export default definePlugin({
  name: "external",
  options: z.object({
    tag: z.string().min(1).max(40).default("[external]").describe("What the subject begins with"),
  }),
  setup(on, { tag }) {
    on("data", (session, message) => {
      if (session.user || session.protocol === "internal") return; // a colleague, or this server itself
      const subject = message.headers.get("Subject") ?? "";
      if (subject.includes(tag)) return; // an answer to mail that was marked already
      message.replaceHeader("Subject", `${tag} ${subject}`.trim());
    });
  },
});
