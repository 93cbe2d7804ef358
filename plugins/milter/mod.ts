/** Asks a mail filter that speaks Sendmail's milter protocol: OpenDKIM, OpenDMARC, clamav-milter and their kind, as they are. */
import { isIP } from "node:net";
import {
  because,
  defer,
  definePlugin,
  type Editable,
  type Objection,
  type On,
  type Session,
  type Transaction,
  z,
} from "../../server/plugin.ts";
import { partsOf } from "../authentication/content.ts";
import { readBackEnd } from "../back_end.ts";
import { confirmedName } from "../confirmed_name.ts";
import { discard, make, NewBody } from "./changes.ts";
import { type Content, Conversation } from "./conversation.ts";
import type { Link } from "./link.ts";
import { Action } from "./negotiation.ts";
import type { Client } from "./told.ts";
import type { Meaning } from "./verdicts.ts";

const address = z.string().meta({ examples: ["/run/opendkim/opendkim.sock", "127.0.0.1:8891"] }).transform(
  (text, context) => {
    const read = asBackEnd(text);
    if (read !== undefined) return read;
    context.addIssue({
      code: "custom",
      message:
        "is not a path such as /run/opendkim/opendkim.sock, a host and a port such as 127.0.0.1:8891, " +
        "or one of these as filters write them: local:/run/opendkim/opendkim.sock, inet:8891@127.0.0.1",
    });
    return z.NEVER;
  },
);

const options = z.object({
  address: address.describe(
    "Where the filter listens, as its own `Socket` says it or as a path or `host:port`: `local:/run/opendkim/opendkim.sock`, `inet:8891@127.0.0.1`",
  ),
  protocol: z.union([z.literal(6), z.literal(2)]).default(6).describe(
    "The newest version of the protocol that is offered; 2 for filters made before 2009 that stumble over 6",
  ),
  macros: z.record(z.string().regex(/^(?:[A-Za-z]|\{[A-Za-z0-9_]{1,60}\})$/), z.string()).default({})
    .describe(
      'Values that the filter is told at the connection, such as `{ "{daemon_name}": ORIGINATING }`; they come before our own',
    ),
  ownMail: z.enum(["skip", "ask"]).default("skip").describe(
    "What becomes of the server's own mail, reports among it: the filter isn't asked, or is, as of a client on this machine",
  ),
});

/** `inet:PORT@HOST`, `inet6:PORT@HOST`, `local:PATH` and `unix:PATH` as filters write them, or as other back ends are written. */
function asBackEnd(text: string): string | undefined {
  const [, path] = /^(?:local|unix):(\/.*)$/.exec(text) ?? [];
  const [, port, host = ""] = /^inet6?:([0-9]+)@(.+)$/.exec(text) ?? [];
  const plain = path ??
    (port === undefined
      ? text
      : `${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${port}`);
  return readBackEnd(plain) === undefined ? undefined : plain;
}

/** The plugin `milter`. */
export default definePlugin({
  name: "milter",
  options,
  setup(on, { address, protocol, macros, ownMail }, host) {
    const links = new Set<Link>();
    const clientOf = async ({ remote, protocol }: Session, signal: AbortSignal): Promise<Client> => {
      if (protocol === "internal") return { host: "localhost", address: "127.0.0.1", port: 0 };
      if (isIP(remote.address) === 0) return { host: "localhost", address: "", port: 0 }; // by a Unix socket
      const name = await confirmedName(host.dns, remote.address, signal);
      return { host: name ?? `[${remote.address}]`, address: remote.address, port: remote.port };
    };
    const followed = new WeakSet<Session>();
    // Not by `host.queued`: what was kept for it is shown to it in the queue, wherever it stands by then.
    const isFollowed = (session: Session) =>
      session.protocol === "internal" ? !host.queued : followed.has(session);
    const conversationOf = host.notes((session: Session) =>
      new Conversation({
        address,
        version: protocol,
        withheld: isFollowed(session) ? 0 : Action.addRecipients, // a message in the queue has the recipients it has
        telling: { hostname: host.hostname, name: "Postrider", extra: macros },
        clientOf,
        opened(link) {
          links.add(link);
          link.onClosed = () => links.delete(link);
        },
      })
    );
    const refusedOf = host.notes((_transaction: Transaction) => new Map<string, Objection>());

    if (!host.queued) {
      onSession(on, (session) => {
        followed.add(session);
        return conversationOf(session);
      });
    }

    on("data", async (session, message, transaction, call) => {
      const isOwn = session.protocol === "internal";
      if (isOwn && ownMail === "skip") return;
      const conversation = conversationOf(session);
      const { signal } = call;
      const body = new NewBody(message);
      try {
        const { whole, recipients } = await conversation.catchUp(session, transaction, signal);
        if (whole.kind === "objection") return whole.objection;
        for (const [id, objection] of recipients) refusedOf(transaction).set(id, objection);
        // Nobody is left to whom the message would go; each is told his own at `dataFor`.
        if (recipients.size > 0 && recipients.size === transaction.recipients.length) return;
        const { meaning, changes } = await conversation.message(transaction, await contentOf(message), {
          onBody: (octets) => body.write(octets),
          onProgress: () => call.progress(),
        }, signal);
        if (meaning.kind === "objection") return meaning.objection;
        if (meaning.kind === "discard") return discard(transaction);
        await body.finish();
        await make(changes, message, transaction);
      } finally {
        await body.abandon();
        if (isOwn || !isFollowed(session)) conversation.close(); // nobody reports its end
      }
    });

    // One whom the filter refused only when it was told of him again: the connection had broken, or there was none before.
    on("dataFor", (_session, recipient, _message, transaction) => {
      const objection = refusedOf(transaction).get(recipient.id);
      if (objection && objection.verdict !== "disconnect") {
        return because("refused as a recipient", objection);
      }
      if (objection) return defer("4.3.2", objection.text);
    });

    return () => {
      for (const link of [...links]) link.close();
    };
  },
});

/** What the filter hears while the client is there. */
function onSession(on: On, conversationOf: (session: Session) => Conversation): void {
  on("connect", async (session, { signal }) => {
    return objectionOf(await conversationOf(session).connect(session, signal));
  });

  on("helo", async (session, name, { signal }) => {
    const conversation = conversationOf(session);
    if (!conversation.isOpen) return; // it was let pass (`onError: skip`): at MAIL the filter is looked for again
    return objectionOf(await conversation.helo(session, name, signal));
  });

  on("mail", async (session, transaction, { signal }) => {
    return objectionOf(await conversationOf(session).mail(session, transaction, signal));
  });

  on("rcpt", async (session, recipient, transaction, { signal }) => {
    return objectionOf(await conversationOf(session).rcpt(recipient, transaction, signal));
  });

  on("disconnect", ({ session }) => conversationOf(session).close());
}

const objectionOf = (meaning: Meaning) => meaning.kind === "objection" ? meaning.objection : undefined;

const [colon, carriageReturn] = [0x3a, 0x0d];

async function contentOf(message: Editable): Promise<Content> {
  const { rows, body } = await partsOf(message);
  return {
    fields: rows.map(({ casedKey, line }) => {
      const value = line.subarray(line.indexOf(colon) + 1);
      return [
        casedKey,
        value.includes(carriageReturn) ? value.filter((octet) => octet !== carriageReturn) : value,
      ];
    }),
    body: piecesOf(body),
  };
}

async function* piecesOf(body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* body;
}
