/** Posts mail to an HTTP server: as JSON or as it is, signed, tried again until it is taken. */
import {
  accept,
  because,
  defer,
  definePlugin,
  type Deliver,
  duration,
  type Host,
  type Message,
  size,
  type Target,
  z,
} from "../../server/plugin.ts";
import { domain, fold, isDomain, isLocal, split } from "../addresses.ts";
import { copyAddress, copyOptions, isCopied, noteOf, readNote } from "../gateway/copies.ts";
import { type Post, Receiver, receiverOptions } from "../gateway/receiver.ts";
import { signStream, signWhole } from "../gateway/sign.ts";
import { Slots } from "../slots.ts";
import { outcomeOf } from "./outcome.ts";
import { TakingApart } from "./taking_apart.ts";

const address = z.string().refine((text) => {
  const { local, domain } = split(text);
  return domain !== undefined && isDomain(domain) && isLocal(local) && !local.includes("+");
}, "not an address such as tickets@example.org, without a +tag");

const options = z.object({
  ...receiverOptions,
  domains: z.array(domain).default([]).describe(
    "Domains whose mail is posted; all their addresses are ours to know",
  ),
  recipients: z.array(address).default([]).describe("Single addresses whose mail is posted, in any domain"),
  copy: copyOptions.optional().describe("Posts a copy of mail that goes elsewhere, too"),
  body: z.enum(["json", "raw"]).default("json").describe(
    "`json`: taken apart, as below; `raw`: the message as it is (message/rfc822), streamed",
  ),
  max: size("10MiB").describe("With `json`: what is larger is told by its header alone"),
  attachments: size("5MiB").describe(
    "With `json`: octets of attachments that stand in it; those beyond are told without their content",
  ),
  beforeReply: z.boolean().default(false).describe(
    "Post it before the client is answered, where a message has this one recipient: the receiver's answer is the reply",
  ),
  timeLimit: duration("30s").describe("How long a post may take, its answer included"),
  concurrency: z.int().min(1).max(1000).default(10).describe("How many posts there are at a time"),
});

type Options = z.output<typeof options>;

/** The plugin `webhook`. */
export default definePlugin({
  name: "webhook",
  options,
  async setup(on, given, host) {
    const { domains, recipients, copy, timeLimit } = given;
    host.owns(domains);
    const receiver = await Receiver.open(given, host);
    if (given.secret === undefined && given.secretFile === undefined) {
      host.log.warning("posts are not signed: whoever knows the URL can write them", {
        url: receiver.origin,
      });
    }
    const takingApart = new TakingApart(host.clock);
    const via = host.transport("webhook", deliverBy(given, receiver, takingApart, host), {
      inline: given.beforeReply,
      timeout: 2 * timeLimit + 10_000, // for its turn as long as for itself
    });
    const here = {
      domains: because("domains", accept({ via })),
      recipients: because("recipients", accept({ via })),
    };
    const ours = new Set(domains);
    const listed = new Set(recipients.map((text) => {
      const { local, domain } = split(text);
      return `${fold(local)}@${domain}`;
    }));
    on("resolve", ({ user, domain }) => {
      if (listed.has(`${user}@${domain}`)) return here.recipients;
      if (ours.has(domain)) return here.domains;
    });
    if (copy) {
      const to = copyAddress(host.name);
      on("data", async (session, _message, transaction) => {
        if (!isCopied(copy, session, transaction)) return;
        await transaction.addCopy(to, { via, note: noteOf(session, transaction, host.clock.now()) });
      });
    }
    return () => {
      takingApart.close();
      receiver.close();
    };
  },
});

function deliverBy(options: Options, receiver: Receiver, takingApart: TakingApart, host: Host): Deliver {
  const { timeLimit, concurrency } = options;
  const slots = new Slots(concurrency);
  return async (message, [target], { signal }) => {
    const over = new AbortController();
    const inTime = AbortSignal.any([signal, over.signal]);
    const give = await slots.takeWithin(timeLimit, host.clock, signal);
    if (!give) return busy;
    host.clock.sleep(timeLimit, inTime).then(
      () => over.abort(new Error(`no answer within ${timeLimit / 1000} s`)),
      () => {},
    );
    try {
      const id = await keyOf(message, target!);
      const seconds = Math.floor(host.clock.now() / 1000);
      const post = options.body === "raw"
        ? await rawPost(message, target!, id, seconds, receiver)
        : await jsonPost(message, target!, id, seconds, receiver, takingApart, options, inTime);
      const headers = { ...post.headers, "idempotency-key": `"${id}"` };
      const answer = await receiver.post({ ...post, headers }, inTime);
      const outcome = outcomeOf(answer, receiver.origin);
      if (outcome.verdict !== "delivered") {
        const { status, text } = outcome;
        host.log.warning("not taken", { id: message.id, to: target!.address, status, why: text });
      }
      return outcome;
    } finally {
      over.abort();
      give();
    }
  };
}

const busy = defer("4.3.2", "Too many posts to this receiver at a time, please try later");

/** The same for each attempt of a recipient's copy, and for no other. */
async function keyOf({ id }: Message, { address }: Target): Promise<string> {
  const octets = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${id}\n${address}`));
  return new Uint8Array(octets, 0, 16).toHex();
}

/** Whose mail it is, in words of JSON. */
function envelopeOf({ note, sender, address, original }: Target): Record<string, unknown> {
  const copy = readNote(note);
  if (!copy) return { kind: "message", envelope: { from: sender, to: [address], original } };
  const { id, from, to, ip, helo, user } = copy;
  return {
    kind: "copy",
    of: id,
    envelope: { from, to },
    client: { ip, helo, user: user === "" ? null : user },
  };
}

async function jsonPost(
  message: Message,
  target: Target,
  id: string,
  seconds: number,
  receiver: Receiver,
  takingApart: TakingApart,
  { max, attachments }: Options,
  signal: AbortSignal,
): Promise<Post> {
  const content = message.size <= max ? { content: await message.bytes(max) } : {};
  const top = {
    ...{ id: message.id, ...envelopeOf(target), size: message.size },
    headers: Array.from(message.headers, ([name, value]) => ({ name, value })),
  };
  const body = await takingApart.make({ ...content, top, inline: attachments }, signal);
  const headers = await signWhole(id, seconds, body, await receiver.secrets());
  return { headers: { ...headers, "content-type": "application/json" }, body };
}

/** What is known besides the message stands in one header: servers refuse those that are longer. */
const longestHeader = 4000;

async function rawPost(
  message: Message,
  target: Target,
  id: string,
  seconds: number,
  receiver: Receiver,
): Promise<Post> {
  const headers = await signStream(id, seconds, message.stream(), await receiver.secrets());
  const about = { id: message.id, ...envelopeOf(target) };
  const whole = asciiJson(about);
  const { to: _, ...envelope } = about["envelope" as keyof typeof about] as unknown as { to: unknown };
  return {
    headers: {
      ...headers,
      "content-type": "message/rfc822",
      "postrider-envelope": whole.length <= longestHeader ? whole : asciiJson({ ...about, envelope }),
    },
    body: message.stream(),
  };
}

/** JSON that may stand in a header. */
const asciiJson = (value: unknown) =>
  JSON.stringify(value).replaceAll(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
