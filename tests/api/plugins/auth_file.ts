import { accept, definePlugin, disconnect, path, reject, z } from "postrider";

declare const users: {
  open(
    file: string,
  ): Promise<{ get(name: string): { hash: string; sendAs: string[] } | undefined; dummy: string }>;
};
declare function verify(hash: string, password: string): Promise<boolean>;

export default definePlugin({
  name: "auth",
  options: z.object({ users: path(), tries: z.int().min(1).default(3) }),
  async setup(on, options, host) {
    const table = await users.open(options.users);
    on("auth", async (session, credentials) => {
      if (credentials.mechanism !== "PLAIN" && credentials.mechanism !== "LOGIN") return;
      const failures = `${session.remote.network} ${credentials.user}`;
      const user = table.get(credentials.user);
      const good = await verify(user?.hash ?? table.dummy, credentials.password.reveal());
      if (user && good) return accept({ user: credentials.user, sendAs: user.sendAs });
      const count = await host.cache.increment(failures, 1, { ttl: "15m" });
      if (count >= options.tries) return disconnect("4.7.0", "Too many failures");
      return reject("5.7.8", "Authentication failed", 535);
    });
    on("mail", (session, transaction) => {
      if (!session.user || !transaction.sender.address) return;
      const allowed = [session.user.name, ...session.user.sendAs];
      if (!allowed.includes(transaction.sender.address)) return reject("5.7.1", "Not your address", 553);
    });
  },
});
