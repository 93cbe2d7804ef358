/** Delivers to a command: the message on its standard input, addresses among its arguments, its exit code the outcome. */
import { stat } from "node:fs/promises";
import { domainToASCII } from "node:url";
import {
  accept,
  type Address,
  because,
  defer,
  definePlugin,
  type Deliver,
  duration,
  type Host,
  type Outcome,
  path,
  reject,
  size,
  type Target,
  z,
} from "../../server/plugin.ts";
import { streamedBody } from "../final_copy.ts";
import { type Account, accountFor } from "./account.ts";
import { expand, mentions, readTemplate, type Template, type Values, valuesOf } from "./arguments.ts";
import { outcomeOf } from "./exits.ts";
import { run } from "./run.ts";
import { Slots } from "../slots.ts";

// By `refine`, not `regex`: the JSON Schema is of what operators write, any case and IDNs included.
const domainName = /^(?:\[[0-9a-z:.]+\]|[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_-]+)*)$/;
const inAscii = (text: string) => domainToASCII(text) || text;
const domain = z.string().overwrite(inAscii).refine(
  (text) => domainName.test(text),
  "not a domain such as example.org",
);

const template = z.string().superRefine((text, context) => {
  const read = readTemplate(text);
  if (typeof read === "string") context.addIssue({ code: "custom", message: read });
});

const address = z.string().refine(
  (text) => /^[^@\s"+]+@[^@\s]+$/.test(text) && domainName.test(inAscii(text.split("@")[1]!)),
  "not an address such as tickets@example.org, without a +tag",
);

const name = z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]*$/, "not the name of a user or a group");

const options = z.object({
  command: path().describe(
    "The program, by its whole path (or relative to this file); never through a shell",
  ),
  arguments: z.array(template).default([]).describe(
    "Its arguments, each with any of {recipient} {original} {sender} {user} {tag} {domain}; {{ is a brace",
  ),
  domains: z.array(domain).default([]).describe(
    "Domains whose mail goes to the command; all their addresses are ours to know",
  ),
  recipients: z.array(address).default([]).describe("Single addresses whose mail goes to it, in any domain"),
  user: name.optional().describe(
    "Whom the command runs as; the server must run as root; absent: as the server, which then must not be root",
  ),
  group: name.optional().describe("Its group; absent: the user's own"),
  timeLimit: duration("5m").describe("How long it may run; then it is ended with all it has started"),
  concurrency: z.int().min(1).max(1000).default(4).describe("How many of it run at a time"),
  lineEndings: z.enum(["lf", "crlf"]).default("lf").describe("How lines end on its standard input"),
  nullSender: z.string().regex(/^[A-Za-z0-9._@-]+$/).refine((text) => !text.startsWith("-"), "begins with -")
    .default("MAILER-DAEMON").describe("What {sender} stands for in a bounce, whose sender is empty"),
  environment: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "not the name of a variable"), template)
    .default({}).describe(
      "Variables beside PATH, HOME, USER, LOGNAME and SHELL, with placeholders as in arguments",
    ),
  output: size("4KiB").describe(
    "How much of what it prints is kept for the log; the rest is read and dropped",
  ),
  exitCodes: z.record(
    z.string().regex(/^(?:[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$/, "not an exit code, 0 to 255"),
    z.enum(["delivered", "defer", "reject"]),
  ).default({}).describe("What exit codes mean that mean something else than in sysexits.h"),
  beforeReply: z.boolean().default(false).describe(
    "Run it before the client is answered, where a message has this one recipient: its exit code is the reply",
  ),
});

type Options = z.output<typeof options>;

const searched = "/usr/local/bin:/usr/bin:/bin";

/** The plugin `pipe`. */
export default definePlugin({
  name: "pipe",
  options,
  async setup(on, given, host) {
    const { command, domains, recipients, timeLimit } = given;
    host.owns(domains);
    await demandProgram(command);
    const account = accountFor(given.user, given.group);
    const isHome = await stat(account.home).then((found) => found.isDirectory(), () => false);
    const passes = passesOf(given);
    const wait = 2 * timeLimit + 10_000; // for its turn as long as for itself, and to see it end
    const transport = host.transport(
      "pipe",
      deliverBy(given, isHome ? account : { ...account, home: "/" }, passes, host),
      {
        inline: given.beforeReply,
        timeout: wait,
      },
    );
    const here = {
      domains: because("domains", accept({ via: transport })),
      recipients: because("recipients", accept({ via: transport })),
    };
    const ours = new Set(domains);
    const listed = new Set(recipients.map(folded));

    on("resolve", (recipient) => {
      const isListed = listed.has(`${recipient.user}@${recipient.domain}`);
      if (!isListed && !ours.has(recipient.domain)) return;
      return passes.whyNot(recipient) ?? (isListed ? here.recipients : here.domains);
    });
  },
});

function folded(text: string): string {
  const at = text.lastIndexOf("@");
  return `${text.slice(0, at).toLowerCase().normalize("NFC")}@${inAscii(text.slice(at + 1))}`;
}

/** @throws {Error} that says what to write instead. */
async function demandProgram(command: string): Promise<void> {
  const found = await stat(command).catch(() => undefined);
  if (found?.isFile() && (found.mode & 0o111) !== 0) return;
  if (found) throw new Error(`${command} is no program: it can't be executed`);
  const name = command.slice(command.lastIndexOf("/") + 1);
  for (const folder of searched.split(":")) {
    if ((await stat(`${folder}/${name}`).catch(() => undefined))?.isFile()) {
      throw new Error(`there is no ${command}: write \`command: ${folder}/${name}\``);
    }
  }
  throw new Error(`there is no ${command}: install it, or correct \`command\``);
}

/** What is passed on to the command, and what can't be. */
interface Passes {
  /** Why an address can't be one's of this command: known at RCPT. */
  whyNot(recipient: Address): ReturnType<typeof reject> | undefined;
  /** The arguments and variables for a recipient, or why there are none. */
  of(
    values: Values,
  ): { readonly args: string[]; readonly env: Record<string, string> } | ReturnType<typeof reject>;
}

const badRecipient = reject("5.1.3", "An address of this form can't be delivered to here", 553);
const badSender = reject("5.1.7", "Mail from a sender address of this form can't be delivered to here");

function passesOf({ arguments: args, environment }: Options): Passes {
  const templates = args.map((text) => readTemplate(text) as Template);
  const variables = Object.entries(environment).map(([name, text]) =>
    [name, readTemplate(text) as Template] as const
  );
  const of = (values: Values) => {
    const passed: string[] = [];
    for (const one of templates) {
      const expanded = expand(one, values);
      if (expanded.kind === "unfit") return expanded.placeholder === "sender" ? badSender : badRecipient;
      passed.push(expanded.text);
    }
    const env: Record<string, string> = {};
    for (const [name, one] of variables) {
      const expanded = expand(one, values);
      if (expanded.kind === "unfit") return expanded.placeholder === "sender" ? badSender : badRecipient;
      env[name] = expanded.text;
    }
    return { args: passed, env };
  };
  // At RCPT the original and the sender are not known: an ordinary address stands for them.
  const recipientOnly = [...templates, ...variables.map(([, one]) => one)].filter((one) =>
    mentions(one, "recipient", "user", "tag", "domain")
  );
  return {
    of,
    whyNot(recipient) {
      const values = valuesOf({ ...recipient, sender: "x", original: "x" }, "x");
      return recipientOnly.some((one) => expand(one, values).kind === "unfit") ? badRecipient : undefined;
    },
  };
}

function deliverBy(options: Options, account: Account, passes: Passes, { clock, log }: Host): Deliver {
  const { command, timeLimit, lineEndings, nullSender, output, concurrency } = options;
  const as = account.uid === Deno.uid() && account.gid === Deno.gid()
    ? undefined
    : { uid: account.uid, gid: account.gid };
  const base = {
    PATH: searched,
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    SHELL: account.shell,
  };
  const verdicts = new Map(Object.entries(options.exitCodes).map(([code, said]) => [Number(code), said]));
  const slots = new Slots(concurrency);
  const end = lineEndings === "lf" ? "\n" : "\r\n";
  const utf8 = new TextEncoder();

  return async (message, [target], { signal }): Promise<Outcome> => {
    if (
      message.headers.all("Delivered-To").some((seen) => asCompared(seen) === asCompared(target!.address))
    ) {
      return reject("5.4.6", "This message was delivered here before: mail loop");
    }
    const passed = passes.of(valuesOf(target!, nullSender));
    if ("verdict" in passed) return passed;
    // RFC 5321 §4.4: final delivery replaces an earlier Return-Path.
    const again = message.headers.get("Return-Path") !== undefined;
    const body = streamedBody(message, lineEndings, again);
    const top = utf8.encode(topOf(target!, end));
    async function* input() {
      yield top;
      yield* body.pieces();
    }
    const give = await slots.takeWithin(timeLimit, clock, signal);
    if (!give) return signal.aborted ? brokenOff : busy;
    try {
      const { ended, printed } = await run(
        {
          path: command,
          args: passed.args,
          env: { ...base, ...passed.env },
          cwd: "/",
          ...(as && { as }),
        },
        input(),
        { clock, signal, timeLimit, output },
      );
      const outcome = outcomeOf(ended, printed, verdicts);
      if (outcome.verdict !== "delivered") {
        log.warning("command failed", { command, recipient: target!.address, ...ended, printed });
      }
      return outcome;
    } finally {
      give();
    }
  };
}

const busy = defer("4.3.2", "Too many deliveries to this command at a time, please try later");
const brokenOff = defer("4.3.2", "Delivery was broken off, please try again");

const topOf = ({ sender, address }: Target, end: string) =>
  `Return-Path: <${sender}>${end}Delivered-To: ${address}${end}`;

/** As `Delivered-To` fields are compared: brackets and case make no difference. */
function asCompared(address: string): string {
  return address.trim().replace(/^<(.*)>$/s, "$1").toLowerCase().normalize("NFC");
}
