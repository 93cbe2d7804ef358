import type { Api } from "postrider"; // nothing imported at run time: for the compiled binary, and for Workers

export default ({ definePlugin, duration, reject, z }: Api) =>
  definePlugin({
    name: "by-api",
    options: z.object({ wait: duration("5m"), words: z.array(z.string()) }),
    setup(on, { wait, words }) {
      on("data", (_session, message) => {
        const subject = message.headers.get("subject") ?? "";
        if (wait > 5 && words.some((w) => subject.includes(w))) return reject("5.7.1", "Not this word");
      });
    },
  });
