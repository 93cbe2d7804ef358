/** What `isolated.ts` runs twice: five hooks, as a filter has them. */
import { type Api, reject } from "../server/plugin.ts";

export default ({ definePlugin }: Api) =>
  definePlugin({
    name: "filter",
    setup(on) {
      on("mail", (_session, { sender }) => {
        if (sender.domain === "spam.example") return reject("5.7.1", "Not from you");
      });
      on("rcpt", async () => {});
      on("resolve", () => {});
      on("data", (_session, message) => {
        if (message.headers.get("X-Bad")) return reject("5.7.1", "Bad");
        message.prependHeader("X-Filter", "seen");
      });
      on("dataFor", (_session, recipient) => recipient.prependHeader("X-For", recipient.user));
    },
  });
