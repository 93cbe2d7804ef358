/** Takes mail over HTTP: JSON or a whole message, from applications with an API key, into the queue. */
import { definePlugin, duration, path, size, z } from "../../server/plugin.ts";
import { Thread } from "../gateway/thread.ts";
import { followYaml } from "../yaml_file.ts";
import { compose, type Composed } from "./compose.ts";
import { readKeys } from "./keys.ts";
import { Listener } from "./listener.ts";
import { Submitting } from "./submitting.ts";

const options = z.object({
  port: z.int().min(0).max(65_535).default(8587).describe(
    "The port; above 1023 where the server has a `user`",
  ),
  address: z.string().default("127.0.0.1").describe(
    "The address it listens on; only loopback may do without `cert`",
  ),
  cert: path().optional().describe("PEM file of a certificate and its chain: HTTPS"),
  key: path().optional().describe("PEM file of its private key"),
  keys: path().describe("YAML file of API keys' hashes, and what each may do; read again when it changes"),
  max: size("25MiB").describe("The largest body that is taken"),
  timeLimit: duration("1m").describe("How long a request may take"),
  concurrency: z.int().min(1).max(10_000).default(50).describe(
    "How many requests there are at a time; others are told to come again (503)",
  ),
  remember: duration("24h").describe("How long an Idempotency-Key is known"),
}).superRefine(({ address, cert, key }, context) => {
  const problem = (message: string, path: string) =>
    context.addIssue({ code: "custom", message, path: [path] });
  if ((cert === undefined) !== (key === undefined)) {
    problem("needs both, `cert` and `key`", cert ? "cert" : "key");
  }
  if (cert === undefined && !/^(?:127\.|::1$|localhost$)/.test(address)) {
    problem(
      "would send API keys in the clear: give it `cert` and `key`, or listen on 127.0.0.1 behind a proxy",
      "address",
    );
  }
});

/** Octets of JSON up to which it takes no longer than a step of the event loop may. */
const small = 64 * 1024;
/** How long connections stay whose requests are answered, when the server stops; milliseconds. */
const lastWords = 500;

/** The plugin `http-submit`. */
export default definePlugin({
  name: "http-submit",
  options,
  async setup(_on, given, host) {
    const keys = await followYaml(given.keys, readKeys, host);
    const thread = new Thread<Uint8Array<ArrayBuffer>, Composed>(() =>
      new Worker(new URL("./compose_worker.ts", import.meta.url), { type: "module" })
    );
    const submitting = new Submitting(given, host, {
      keys: () => keys.current(),
      compose: (body) => body.length <= small ? compose(body) : thread.ask(body, [body.buffer]),
    });
    host.runs(async () => {
      const server = await Listener.open(given, host, (request, ip) => submitting.handle(request, ip));
      const { hostname, port } = server.addr;
      host.log.info("taking mail over HTTP", { address: hostname, port, tls: given.cert !== undefined });
      return async () => {
        const gone = server.shutdown(); // nobody new comes
        await submitting.idle();
        // Answers are on their way; who has one and goes on sending would be waited for, for ever.
        const { promise: late, resolve } = Promise.withResolvers<void>();
        const timer = setTimeout(resolve, lastWords);
        await Promise.race([gone, late]);
        clearTimeout(timer);
      };
    });
    return () => thread.close();
  },
});
